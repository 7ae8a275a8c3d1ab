-- Hourly revenue: what was bought in each hour in which something was, UTC. Athena SQL.
-- A purchase without a usable price or quantity counts as an event and adds no revenue.
SELECT
  CAST(year(event_ts) AS INTEGER) AS year,
  CAST(month(event_ts) AS INTEGER) AS month,
  CAST(day(event_ts) AS INTEGER) AS day,
  CAST(hour(event_ts) AS INTEGER) AS hour,
  CAST(coalesce(sum(revenue), 0) AS DECIMAL(38, 2)) AS total_revenue,
  CAST(coalesce(sum(quantity), 0) AS BIGINT) AS units_sold,
  CAST(count(*) AS BIGINT) AS purchase_events,
  event_date
FROM silver.events
WHERE event_type = 'purchase'
GROUP BY event_date, year(event_ts), month(event_ts), day(event_ts), hour(event_ts)
