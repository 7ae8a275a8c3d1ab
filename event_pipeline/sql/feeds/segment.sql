-- Segment's and RudderStack's calls as clickstream events: ecommerce spec, version 2. Spark SQL.
--
-- A call that names several products stands for several events: `each` is properties.products.
SELECT
  originalTimestamp AS timestamp,
  coalesce(userId, anonymousId) AS user_id,
  coalesce(context.sessionId, anonymousId) AS session_id,
  CASE
    WHEN type = 'page' THEN 'page_view'
    WHEN event IN ('Product Viewed', 'Product List Viewed') THEN 'page_view'
    WHEN event = 'Product Added' THEN 'add_to_cart'
    WHEN event = 'Product Removed' THEN 'remove_from_cart'
    WHEN event = 'Order Completed' THEN 'purchase'
    WHEN event = 'Products Searched' THEN 'search'
    ELSE event
  END AS event_type,
  coalesce(properties.products.product_id, properties.product_id) AS product_id,
  coalesce(properties.products.quantity, properties.quantity) AS quantity,
  coalesce(properties.products.price, properties.price) AS price,
  coalesce(properties.products.category, properties.category) AS category,
  properties.query AS search_query
FROM raw
WHERE type IN ('page', 'track')
