-- UCI Online Retail, one file a day: each line of an invoice is a purchase of a product.
SELECT
  InvoiceNo || '-' || row_number() OVER () AS event_id,
  split_part(CustomerID, '.', 1) AS user_id,
  'product_purchase' AS event_type,
  StockCode AS product_id,
  replace(InvoiceDate, ' ', 'T') || 'Z' AS event_timestamp,
  InvoiceNo AS session_id
FROM input
