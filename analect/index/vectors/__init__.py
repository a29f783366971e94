"""Search by meaning over vectors kept in files of their own."""

from analect.index.vectors.embedded import EmbeddedVectorIndex

__all__ = ["EmbeddedVectorIndex"]
