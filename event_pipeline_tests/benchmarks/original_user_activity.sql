-- The original system's user activity, its defects kept: the join counts an order once for each
-- event of its user, and failed payments are revenue. Spark SQL.
SELECT
  users.user_id,
  users.country,
  COUNT(DISTINCT events.event_id) AS total_events,
  COUNT(DISTINCT orders.order_id) AS total_orders,
  SUM(orders.order_amount) AS revenue
FROM users
LEFT JOIN events ON users.user_id = events.user_id
LEFT JOIN orders ON users.user_id = orders.user_id
GROUP BY users.user_id, users.country
