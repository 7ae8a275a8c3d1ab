"""Ingestion: one gzipped JSON Lines object per 5-minute slot. Standard library and boto3 only."""
