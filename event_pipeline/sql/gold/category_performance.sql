-- Category performance: every event of each day, by category. Athena SQL.
-- Events without a category, such as searches, stand in a row of their own (null), so that the
-- rows of a day add up to all its events.
SELECT
  event_date AS event_day,
  category,
  CAST(count(*) AS BIGINT) AS total_events,
  CAST(count_if(event_type = 'page_view') AS BIGINT) AS page_views,
  CAST(count_if(event_type = 'add_to_cart') AS BIGINT) AS adds,
  CAST(count_if(event_type = 'remove_from_cart') AS BIGINT) AS removes,
  CAST(count_if(event_type = 'purchase') AS BIGINT) AS purchases,
  CAST(count_if(event_type = 'search') AS BIGINT) AS searches
FROM silver.events
GROUP BY event_date, category
