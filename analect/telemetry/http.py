"""Metrics of the HTTP face."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class HttpMetrics:
    """Requests by route template, never by path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Histogram(
            "analect_http_request_seconds",
            "Time from the first byte of a request to the end of its answer.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._refused = Counter(
            "analect_http_refusals_total",
            "Requests refused, by the code of the reason.",
            ("reason",),
            registry=registry,
        )
        self._body_bytes = Counter(
            "analect_http_body_bytes_total",
            "Bytes of request bodies of records, after unpacking.",
            registry=registry,
        )
        self.inflight = Gauge(
            "analect_http_inflight_bytes",
            "Bytes of request bodies being worked on.",
            registry=registry,
        )
        self.ready = Gauge(
            "analect_http_ready_state",
            "1 while the last readiness check passed, else 0.",
            registry=registry,
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def refused(self, reason: str) -> None:
        """One request was turned away."""
        self._refused.labels(reason).inc()

    def body(self, size: int) -> None:
        """A body of records was read."""
        self._body_bytes.inc(size)
