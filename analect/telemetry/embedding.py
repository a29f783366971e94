"""Metrics of a server that turns texts into vectors."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class EmbeddingMetrics:
    """What was asked of it, and what that cost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "analect_embedding_request_seconds",
            "Time of a request to the embeddings' server by its outcome: ok, failed.",
            ("outcome",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._texts = Counter(
            "analect_embedding_texts_total",
            "Texts by where their vector came from: cache, server.",
            ("source",),
            registry=registry,
        )
        self._tokens = Counter(
            "analect_embedding_tokens_total",
            "Tokens that the embeddings' server charged for.",
            registry=registry,
        )
        self._cost = Counter(
            "analect_embedding_cost_total",
            "What they cost by embeddings.price_per_million_tokens, in its currency.",
            registry=registry,
        )

    def asked(self, outcome: str, seconds: float) -> None:
        """One request was answered, or failed."""
        self._seconds.labels(outcome).observe(seconds)

    def looked_up(self, texts: int, missing: int) -> None:
        """Of so many texts, so many have to be sent."""
        self._texts.labels("cache").inc(texts - missing)
        self._texts.labels("server").inc(missing)

    def used(self, tokens: int, cost: float) -> None:
        """What one request used up."""
        self._tokens.inc(tokens)
        self._cost.inc(cost)
