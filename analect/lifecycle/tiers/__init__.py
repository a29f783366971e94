"""Tiers: warm Parquet and cold JSON Lines beside the hot rows, read as one."""
