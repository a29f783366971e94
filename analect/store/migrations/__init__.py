"""Alembic's folder: how a database becomes one of this release."""
