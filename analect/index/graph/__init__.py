"""Relations between records, kept in a file of their own."""

from analect.index.graph.embedded import EmbeddedGraphIndex

__all__ = ["EmbeddedGraphIndex"]
