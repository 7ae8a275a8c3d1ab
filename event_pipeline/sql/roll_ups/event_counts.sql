-- Event counts: the events of an arrival hour by event hour, kind, product and category. Spark SQL.
-- Counts and sums add up over hours, so that a day's figures come from some thousand rows.
SELECT
  event_date,
  CAST(hour(event_ts) AS INT) AS event_hour,
  event_type,
  product_id,
  category,
  count(*) AS events,
  sum(quantity) AS units,
  sum(revenue) AS revenue
FROM silver.events
GROUP BY event_date, hour(event_ts), event_type, product_id, category
