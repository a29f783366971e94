"""Finding by meaning in Qdrant."""

from analect.index.qdrant.index import QdrantVectorIndex
from analect.index.qdrant.server import QdrantServer

__all__ = ["QdrantServer", "QdrantVectorIndex"]
