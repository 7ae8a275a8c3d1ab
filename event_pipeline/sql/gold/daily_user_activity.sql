-- Daily user activity: distinct users and sessions, exact, and all events of each day. Athena SQL.
SELECT
  event_date AS event_day,
  CAST(count(DISTINCT user_id) AS BIGINT) AS unique_users,
  CAST(count(DISTINCT session_id) AS BIGINT) AS unique_sessions,
  CAST(count(*) AS BIGINT) AS total_events
FROM silver.events
GROUP BY event_date
