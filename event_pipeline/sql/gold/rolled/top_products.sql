-- Top products, as gold/top_products.sql gives it, from roll-ups. Athena SQL.
WITH counted AS (
  SELECT event_date, product_id, max(category) AS category, sum(events) AS view_count
  FROM silver.event_counts
  WHERE event_type = 'page_view' AND product_id IS NOT NULL
  GROUP BY event_date, product_id
),
ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY event_date ORDER BY view_count DESC, product_id) AS place
  FROM counted
)
SELECT product_id, category, CAST(view_count AS BIGINT) AS view_count, event_date
FROM ranked
WHERE place <= 10
