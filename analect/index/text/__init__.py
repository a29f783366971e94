"""Finding by words, built in: SQLite FTS5 in a file of its own."""

from analect.index.text.embedded import EmbeddedTextIndex

__all__ = ["EmbeddedTextIndex"]
