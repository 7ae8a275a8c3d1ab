-- UCI Online Retail, one file a day: each invoice is an order; a cancelled one begins with C.
SELECT
  InvoiceNo AS order_id,
  split_part(max(CustomerID), '.', 1) AS user_id,
  CAST(sum(CAST(Quantity AS INT) * CAST(UnitPrice AS DECIMAL(18, 4))) AS DECIMAL(18, 2))
    AS order_amount,
  'GBP' AS currency,
  replace(min(InvoiceDate), ' ', 'T') || 'Z' AS order_timestamp,
  CASE WHEN InvoiceNo LIKE 'C%' THEN 'failed' ELSE 'success' END AS payment_status
FROM input
GROUP BY InvoiceNo
