-- User activity: what each user of a commerce drop did and paid. Spark SQL.
--
-- Events and orders are aggregated by user before they meet the users, so that no join multiplies
-- an amount. Currencies are never added together: a user who ordered in several has a row for
-- each. Every number stands in one row only, so a column adds up over the table as it is: events
-- are counted in a user's first row, and those of users whom the drop does not know stand in rows
-- without a user.
WITH events_by_user AS (
  SELECT
    drop_date,
    user_id,
    count(*) AS total_events,
    count_if(event_type = 'product_view') AS product_views,
    count_if(event_type = 'product_purchase') AS product_purchases
  FROM silver.commerce_events
  GROUP BY drop_date, user_id
),
orders_by_user AS (
  SELECT
    drop_date,
    user_id,
    currency,
    row_number() OVER (PARTITION BY drop_date, user_id ORDER BY currency) AS place,
    count(*) AS total_orders,
    count_if(payment_status = 'success') AS successful_orders,
    sum(CASE WHEN payment_status = 'success' THEN order_amount ELSE 0 END) AS revenue
  FROM silver.commerce_orders
  GROUP BY drop_date, user_id, currency
),
known AS (
  SELECT
    users.drop_date,
    users.user_id,
    users.country,
    users.signup_date,
    users.device_type,
    users.marketing_source,
    CASE WHEN coalesce(orders.place, 1) = 1 THEN 1 ELSE 0 END AS users,
    coalesce(events.total_events, 0) AS total_events,
    coalesce(events.product_views, 0) AS product_views,
    coalesce(events.product_purchases, 0) AS product_purchases,
    orders.currency,
    coalesce(orders.total_orders, 0) AS total_orders,
    coalesce(orders.successful_orders, 0) AS successful_orders,
    coalesce(orders.revenue, 0) AS revenue
  FROM silver.commerce_users AS users
  LEFT JOIN events_by_user AS events
    ON events.drop_date = users.drop_date AND events.user_id = users.user_id
  LEFT JOIN orders_by_user AS orders
    ON orders.drop_date = users.drop_date AND orders.user_id = users.user_id
),
unknown_events AS (
  SELECT
    events.drop_date,
    sum(events.total_events) AS total_events,
    sum(events.product_views) AS product_views,
    sum(events.product_purchases) AS product_purchases
  FROM events_by_user AS events
  LEFT JOIN silver.commerce_users AS users
    ON events.drop_date = users.drop_date AND events.user_id = users.user_id
  WHERE users.user_id IS NULL
  GROUP BY events.drop_date
),
unknown_orders AS (
  SELECT
    orders.drop_date,
    orders.currency,
    sum(orders.total_orders) AS total_orders,
    sum(orders.successful_orders) AS successful_orders,
    sum(orders.revenue) AS revenue
  FROM orders_by_user AS orders
  LEFT JOIN silver.commerce_users AS users
    ON orders.drop_date = users.drop_date AND orders.user_id = users.user_id
  WHERE users.user_id IS NULL
  GROUP BY orders.drop_date, orders.currency
)
SELECT
  user_id,
  country,
  CASE WHEN users = 1 THEN total_events ELSE 0 END AS total_events,
  total_orders,
  revenue,
  currency,
  successful_orders,
  CASE WHEN users = 1 THEN product_views ELSE 0 END AS product_views,
  CASE WHEN users = 1 THEN product_purchases ELSE 0 END AS product_purchases,
  users,
  signup_date,
  device_type,
  marketing_source,
  drop_date
FROM known
UNION ALL
SELECT
  NULL, NULL, total_events, 0, 0, NULL, 0, product_views, product_purchases, 0, NULL, NULL, NULL,
  drop_date
FROM unknown_events
UNION ALL
SELECT
  NULL, NULL, 0, total_orders, revenue, currency, successful_orders, 0, 0, 0, NULL, NULL, NULL,
  drop_date
FROM unknown_orders
