"""Words and meaning in OpenSearch 2.19 or 3.x."""

from analect.index.opensearch.engine import OpenSearch
from analect.index.opensearch.text import OpenSearchTextIndex
from analect.index.opensearch.vectors import OpenSearchVectorIndex

__all__ = ["OpenSearch", "OpenSearchTextIndex", "OpenSearchVectorIndex"]
