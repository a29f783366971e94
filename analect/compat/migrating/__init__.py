"""Data of older programs, brought in: their SQLite files, and their exported in-memory state."""
