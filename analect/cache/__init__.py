"""Answers kept for a while: in memory, and in a Redis that all processes share.

What is cached is read by anyone who can read the Redis: aggregates and other answers without
anyone's text, never records.
"""
