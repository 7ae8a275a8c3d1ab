-- Silver orders of a commerce drop: types and judges its lines. Spark SQL.
--
-- Reads `raw`: one row a line, each source field as the text that was received (null where
-- absent). Returns the contract's columns and `reasons`, as silver/events.sql does.
WITH typed AS (
  SELECT
    *,
    trim(BOTH ' ' FROM order_id) AS order_name,
    -- A guest has no user, however that is spelled.
    CASE
      WHEN NOT translate(user_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
        RLIKE '${PLACEHOLDER}'
      THEN trim(BOTH ' ' FROM user_id)
    END AS user,
    -- A number that is not written as text comes through a double, which holds 15 digits: of a
    -- longer one the cents would be others.
    CASE
      WHEN order_amount RLIKE '${NUMBER}'
      THEN try_cast(order_amount AS DECIMAL(15, 2))
    END AS amount,
    translate(
      trim(BOTH ' ' FROM currency), 'abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
    ) AS money,
    translate(
      trim(BOTH ' ' FROM payment_status), 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'
    ) AS status,
    CASE
      WHEN order_timestamp RLIKE '${TIMESTAMP}'
      THEN CAST(try_cast(order_timestamp AS TIMESTAMP) AS TIMESTAMP_NTZ)
    END AS placed_at
  FROM raw
)
SELECT
  order_name AS order_id,
  user AS user_id,
  CASE
    WHEN NOT translate(product_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
      RLIKE '${PLACEHOLDER}'
    THEN product_id
  END AS product_id,
  amount AS order_amount,
  money AS currency,
  placed_at AS order_timestamp,
  status AS payment_status,
  concat_ws(
    ',',
    CASE
      WHEN coalesce(order_name, '') = '' THEN 'order_id_missing'
      WHEN translate(order_name, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
        RLIKE '${PLACEHOLDER}'
      THEN 'order_id_placeholder'
      WHEN substr(order_name, 1, 1) IN ('{', '[') THEN 'order_id_invalid'
    END,
    CASE WHEN substr(user, 1, 1) IN ('{', '[') THEN 'user_id_invalid' END,
    CASE
      WHEN order_amount IS NULL THEN 'order_amount_missing'
      WHEN amount IS NULL THEN 'order_amount_invalid'
    END,
    CASE
      WHEN coalesce(money, '') = '' THEN 'currency_missing'
      WHEN NOT money RLIKE '^[A-Z]{3}\\z' THEN 'currency_invalid'
    END,
    CASE
      WHEN order_timestamp IS NULL THEN 'order_timestamp_missing'
      -- An offset may lead out of the years that every reader of the table knows.
      WHEN placed_at IS NULL
        OR placed_at < TIMESTAMP_NTZ '0001-01-01 00:00:00'
        OR placed_at > TIMESTAMP_NTZ '9999-12-31 23:59:59.999999'
      THEN 'order_timestamp_invalid'
    END,
    CASE
      WHEN coalesce(status, '') = '' THEN 'payment_status_missing'
      WHEN status NOT IN ('success', 'failed', 'in_progress') THEN 'payment_status_unknown'
    END
  ) AS reasons
FROM typed
