"""Backups: written whole, checked object by object, and called good only once restored."""
