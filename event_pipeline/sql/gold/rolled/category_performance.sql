-- Category performance, as gold/category_performance.sql gives it, from roll-ups. Athena SQL.
SELECT
  event_date AS event_day,
  category,
  CAST(sum(events) AS BIGINT) AS total_events,
  CAST(coalesce(sum(CASE WHEN event_type = 'page_view' THEN events END), 0) AS BIGINT) AS page_views,
  CAST(coalesce(sum(CASE WHEN event_type = 'add_to_cart' THEN events END), 0) AS BIGINT) AS adds,
  CAST(
    coalesce(sum(CASE WHEN event_type = 'remove_from_cart' THEN events END), 0) AS BIGINT
  ) AS removes,
  CAST(coalesce(sum(CASE WHEN event_type = 'purchase' THEN events END), 0) AS BIGINT) AS purchases,
  CAST(coalesce(sum(CASE WHEN event_type = 'search' THEN events END), 0) AS BIGINT) AS searches
FROM silver.event_counts
GROUP BY event_date, category
