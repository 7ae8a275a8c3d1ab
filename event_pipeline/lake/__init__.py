"""The lake: Bronze objects as they were received, and Iceberg tables made of them."""
