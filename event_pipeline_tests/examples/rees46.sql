-- REES46's public clickstream as events. DuckDB SQL; `input` is the file, its columns are text.
SELECT
  strftime(strptime(event_time, '%Y-%m-%d %H:%M:%S UTC'), '%Y-%m-%dT%H:%M:%SZ') AS timestamp,
  user_id,
  user_session AS session_id,
  CASE event_type WHEN 'view' THEN 'page_view' WHEN 'cart' THEN 'add_to_cart' ELSE event_type END
    AS event_type,
  product_id,
  CASE WHEN event_type <> 'view' THEN 1 END AS quantity,
  CASE WHEN event_type <> 'view' THEN CAST(price AS DECIMAL(10, 2)) END AS price,
  nullif(split_part(category_code, '.', 1), '') AS category
FROM input
