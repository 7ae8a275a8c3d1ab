-- Hourly revenue, as gold/hourly_revenue.sql gives it, from roll-ups. Athena SQL.
SELECT
  CAST(year(event_date) AS INTEGER) AS year,
  CAST(month(event_date) AS INTEGER) AS month,
  CAST(day(event_date) AS INTEGER) AS day,
  event_hour AS hour,
  CAST(coalesce(sum(revenue), 0) AS DECIMAL(38, 2)) AS total_revenue,
  CAST(coalesce(sum(units), 0) AS BIGINT) AS units_sold,
  CAST(sum(events) AS BIGINT) AS purchase_events,
  event_date
FROM silver.event_counts
WHERE event_type = 'purchase'
GROUP BY event_date, year(event_date), month(event_date), day(event_date), event_hour
