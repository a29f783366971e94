"""Relations between records, kept in Neo4j."""

from analect.index.neo4j.index import Neo4jGraphIndex

__all__ = ["Neo4jGraphIndex"]
