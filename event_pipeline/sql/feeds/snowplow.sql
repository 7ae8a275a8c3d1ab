-- Snowplow's enriched events as JSON, by the names of its atomic fields. Spark SQL.
SELECT
  coalesce(derived_tstamp, collector_tstamp) AS timestamp,
  coalesce(user_id, domain_userid) AS user_id,
  domain_sessionid AS session_id,
  CASE event WHEN 'transaction_item' THEN 'purchase' ELSE event END AS event_type,
  ti_sku AS product_id,
  ti_quantity AS quantity,
  ti_price AS price,
  ti_category AS category,
  NULL AS search_query
FROM raw
WHERE event IN ('page_view', 'transaction_item')
