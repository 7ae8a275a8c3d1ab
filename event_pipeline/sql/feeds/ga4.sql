-- GA4's BigQuery export as clickstream events. Spark SQL.
--
-- An event that names several items stands for several events: `each` is items. Times are in
-- microseconds since 1970; parameters are looked up by their key.
SELECT
  CASE
    WHEN event_timestamp RLIKE '^[0-9]{1,16}\\z'
    THEN CAST(timestamp_micros(try_cast(event_timestamp AS BIGINT)) AS STRING)
  END AS timestamp,
  coalesce(user_id, user_pseudo_id) AS user_id,
  event_params.ga_session_id.int_value AS session_id,
  CASE event_name
    WHEN 'view_item' THEN 'page_view'
    WHEN 'view_search_results' THEN 'search'
    ELSE event_name
  END AS event_type,
  items.item_id AS product_id,
  items.quantity AS quantity,
  items.price AS price,
  items.item_category AS category,
  event_params.search_term.string_value AS search_query
FROM raw
WHERE
  event_name IN (
    'page_view', 'view_item', 'add_to_cart', 'remove_from_cart', 'purchase', 'view_search_results'
  )
