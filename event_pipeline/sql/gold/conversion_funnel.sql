-- Conversion funnel: how far each product's views go, by event date. Athena SQL.
-- The 1,000 most viewed products of a day; a rate is 0 where its denominator is 0.
WITH counted AS (
  SELECT
    event_date,
    product_id,
    count_if(event_type = 'page_view') AS views,
    count_if(event_type = 'add_to_cart') AS adds,
    count_if(event_type = 'purchase') AS purchases
  FROM silver.events
  WHERE product_id IS NOT NULL
  GROUP BY event_date, product_id
),
ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY event_date ORDER BY views DESC, product_id) AS place
  FROM counted
)
SELECT
  product_id,
  CAST(views AS BIGINT) AS views,
  CAST(adds AS BIGINT) AS adds,
  CAST(purchases AS BIGINT) AS purchases,
  coalesce(CAST(adds AS DOUBLE) / nullif(views, 0), 0) AS view_to_add_rate,
  coalesce(CAST(purchases AS DOUBLE) / nullif(adds, 0), 0) AS add_to_purchase_rate,
  coalesce(CAST(purchases AS DOUBLE) / nullif(views, 0), 0) AS view_to_purchase_rate,
  event_date
FROM ranked
WHERE place <= 1000
