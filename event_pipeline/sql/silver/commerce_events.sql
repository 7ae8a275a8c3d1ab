-- Silver events of a commerce drop: types and judges its lines. Spark SQL.
--
-- Reads `raw`: one row a line, each source field as the text that was received (null where
-- absent). Returns the contract's columns and `reasons`, as silver/events.sql does.
WITH typed AS (
  SELECT
    *,
    trim(BOTH ' ' FROM event_id) AS event,
    -- A visitor who is not signed in has no user, however that is spelled.
    CASE
      WHEN NOT translate(user_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
        RLIKE '${PLACEHOLDER}'
      THEN trim(BOTH ' ' FROM user_id)
    END AS user,
    translate(
      trim(BOTH ' ' FROM event_type), 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'
    ) AS event_name,
    CASE
      WHEN event_timestamp RLIKE '${TIMESTAMP}'
      THEN CAST(try_cast(event_timestamp AS TIMESTAMP) AS TIMESTAMP_NTZ)
    END AS happened_at
  FROM raw
)
SELECT
  event AS event_id,
  user AS user_id,
  event_name AS event_type,
  CASE
    WHEN NOT translate(product_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
      RLIKE '${PLACEHOLDER}'
    THEN product_id
  END AS product_id,
  happened_at AS event_timestamp,
  CASE
    WHEN NOT translate(session_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
      RLIKE '${PLACEHOLDER}'
    THEN session_id
  END AS session_id,
  device_type,
  concat_ws(
    ',',
    CASE
      WHEN coalesce(event, '') = '' THEN 'event_id_missing'
      WHEN translate(event, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
        RLIKE '${PLACEHOLDER}'
      THEN 'event_id_placeholder'
      WHEN substr(event, 1, 1) IN ('{', '[') THEN 'event_id_invalid'
    END,
    CASE WHEN substr(user, 1, 1) IN ('{', '[') THEN 'user_id_invalid' END,
    CASE
      WHEN coalesce(event_name, '') = '' THEN 'event_type_missing'
      WHEN event_name NOT IN ('product_view', 'product_purchase') THEN 'event_type_unknown'
    END,
    CASE
      WHEN event_timestamp IS NULL THEN 'event_timestamp_missing'
      -- An offset may lead out of the years that every reader of the table knows.
      WHEN happened_at IS NULL
        OR happened_at < TIMESTAMP_NTZ '0001-01-01 00:00:00'
        OR happened_at > TIMESTAMP_NTZ '9999-12-31 23:59:59.999999'
      THEN 'event_timestamp_invalid'
    END
  ) AS reasons
FROM typed
