-- Conversion funnel, as gold/conversion_funnel.sql gives it, from roll-ups. Athena SQL.
WITH counted AS (
  SELECT
    event_date,
    product_id,
    coalesce(sum(CASE WHEN event_type = 'page_view' THEN events END), 0) AS views,
    coalesce(sum(CASE WHEN event_type = 'add_to_cart' THEN events END), 0) AS adds,
    coalesce(sum(CASE WHEN event_type = 'purchase' THEN events END), 0) AS purchases
  FROM silver.event_counts
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
