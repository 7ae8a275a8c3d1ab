-- Daily user activity, as gold/daily_user_activity.sql gives it, from roll-ups. Athena SQL.
WITH visitors AS (
  SELECT
    event_date,
    count(DISTINCT CASE WHEN kind = 'user' THEN id END) AS unique_users,
    count(DISTINCT CASE WHEN kind = 'session' THEN id END) AS unique_sessions
  FROM silver.event_visitors
  GROUP BY event_date
),
counted AS (
  SELECT event_date, sum(events) AS total_events FROM silver.event_counts GROUP BY event_date
)
SELECT
  counted.event_date AS event_day,
  CAST(visitors.unique_users AS BIGINT) AS unique_users,
  CAST(visitors.unique_sessions AS BIGINT) AS unique_sessions,
  CAST(counted.total_events AS BIGINT) AS total_events
FROM counted
JOIN visitors ON visitors.event_date = counted.event_date
