-- Event visitors: the distinct users and sessions of an arrival hour, by event date. Spark SQL.
-- A visitor of several hours stands in each of them; who counts a day's must count each id once.
SELECT DISTINCT event_date, 'user' AS kind, user_id AS id FROM silver.events
UNION ALL
SELECT DISTINCT event_date, 'session' AS kind, session_id AS id FROM silver.events
