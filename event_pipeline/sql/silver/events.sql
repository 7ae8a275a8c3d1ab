-- Silver events: types and judges the lines of one arrival hour. Spark SQL.
--
-- Reads `raw`: one row a line, each source field as the text that was received (null where
-- absent). Returns the contract's columns and `reasons`: empty for a good row, else the names of
-- the contract's rules that the row breaks, joined by commas. A row with reasons goes to
-- quarantine and the rest of it is ignored.
--
-- DuckDB and Spark must judge alike: sql/README.md says what of SQL they agree on, and the case
-- that taught each limit.
WITH typed AS (
  SELECT
    *,
    CASE
      WHEN timestamp RLIKE '${TIMESTAMP}'
      THEN CAST(try_cast(timestamp AS TIMESTAMP) AS TIMESTAMP_NTZ)
    END AS event_ts,
    -- Nearly every type is spelled as it should be, which is cheaper to see than to mend.
    CASE
      WHEN event_type IN ('page_view', 'add_to_cart', 'remove_from_cart', 'purchase', 'search')
      THEN event_type
      ELSE translate(
        trim(BOTH ' ' FROM event_type), 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'
      )
    END AS event_name,
    CASE
      WHEN quantity RLIKE '${NUMBER}'
      THEN try_cast(quantity AS DECIMAL(8, 0))
    END AS units,
    CASE
      WHEN price RLIKE '${NUMBER}'
      THEN try_cast(price AS DECIMAL(10, 2))
    END AS amount
  FROM raw
)
SELECT
  event_ts,
  CAST(event_ts AS DATE) AS event_date,
  user_id,
  session_id,
  event_name AS event_type,
  -- A search has no product, however its producer spells that.
  CASE
    WHEN (product_id >= 'o' AND product_id < 'un') OR (product_id >= 'b' AND product_id < 'n')
      OR (product_id >= '1' AND product_id < ':') OR (product_id >= 'B' AND product_id < 'N')
    THEN product_id
    WHEN NOT translate(product_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
      RLIKE '${PLACEHOLDER}'
    THEN product_id
  END AS product_id,
  category,
  -- A negative quantity or price is no measurement: null, as in the source system.
  CASE WHEN units >= 0 THEN CAST(units AS INT) END AS quantity,
  CASE WHEN amount >= 0 THEN amount END AS price,
  CASE
    WHEN event_name = 'purchase' AND units >= 0 AND amount >= 0
    THEN CAST(units * amount AS DECIMAL(18, 2))
  END AS revenue,
  search_query,
  concat_ws(
    ',',
    CASE
      WHEN timestamp IS NULL THEN 'timestamp_missing'
      -- An offset may lead out of the years that every reader of the table knows.
      WHEN event_ts IS NULL
        OR event_ts < TIMESTAMP_NTZ '0001-01-01 00:00:00'
        OR event_ts > TIMESTAMP_NTZ '9999-12-31 23:59:59.999999'
      THEN 'timestamp_invalid'
    END,
    -- Nearly every id begins with a letter that no placeholder has, which is cheaper to see.
    CASE
      WHEN (user_id >= 'o' AND user_id < 'un') OR (user_id >= 'b' AND user_id < 'n')
        OR (user_id >= '1' AND user_id < ':') OR (user_id >= 'B' AND user_id < 'N')
      THEN NULL
      WHEN coalesce(trim(BOTH ' ' FROM user_id), '') = '' THEN 'user_id_missing'
      WHEN translate(user_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
        RLIKE '${PLACEHOLDER}'
      THEN 'user_id_placeholder'
    END,
    CASE
      WHEN (session_id >= 'o' AND session_id < 'un') OR (session_id >= 'b' AND session_id < 'n')
        OR (session_id >= '1' AND session_id < ':') OR (session_id >= 'B' AND session_id < 'N')
      THEN NULL
      WHEN coalesce(trim(BOTH ' ' FROM session_id), '') = '' THEN 'session_id_missing'
      WHEN translate(session_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
        RLIKE '${PLACEHOLDER}'
      THEN 'session_id_placeholder'
    END,
    CASE
      WHEN coalesce(event_name, '') = '' THEN 'event_type_missing'
      WHEN event_name NOT IN ('page_view', 'add_to_cart', 'remove_from_cart', 'purchase', 'search')
      THEN 'event_type_unknown'
    END,
    CASE WHEN quantity IS NOT NULL AND units IS NULL THEN 'quantity_invalid' END,
    CASE WHEN price IS NOT NULL AND amount IS NULL THEN 'price_invalid' END
  ) AS reasons
FROM typed
