-- Silver users of a commerce drop: types and judges its lines. Spark SQL.
--
-- Reads `raw`: one row a line, each source field as the text that was received (null where
-- absent). Returns the contract's columns and `reasons`, as silver/events.sql does.
WITH typed AS (
  SELECT
    *,
    trim(BOTH ' ' FROM user_id) AS user,
    -- A date, or a date and time of which the date counts; the year 0 is not in every calendar.
    CASE
      WHEN signup_date RLIKE '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]|\\z)' AND signup_date >= '0001'
      THEN try_cast(substr(signup_date, 1, 10) AS DATE)
    END AS signed_up
  FROM raw
)
SELECT
  user AS user_id,
  signed_up AS signup_date,
  country,
  device_type,
  marketing_source,
  concat_ws(
    ',',
    CASE
      WHEN coalesce(user, '') = '' THEN 'user_id_missing'
      WHEN translate(user, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
        RLIKE '${PLACEHOLDER}'
      THEN 'user_id_placeholder'
      WHEN substr(user, 1, 1) IN ('{', '[') THEN 'user_id_invalid'
    END,
    CASE WHEN signup_date IS NOT NULL AND signed_up IS NULL THEN 'signup_date_invalid' END
  ) AS reasons
FROM typed
