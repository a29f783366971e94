"""Retention: policies as data, what they would do, and doing only that."""
