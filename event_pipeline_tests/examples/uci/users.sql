-- UCI Online Retail, one file a day: its customers.
SELECT DISTINCT
  split_part(CustomerID, '.', 1) AS user_id,
  Country AS country
FROM input
WHERE CustomerID IS NOT NULL
