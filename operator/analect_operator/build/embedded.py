"""A store in one pod: SQLite on a volume, the built-in indexes, no other server."""

from __future__ import annotations

from collections.abc import Iterator

from analect_operator.build import pods
from analect_operator.build.site import Manifest, Site
from analect_operator.build.workloads import service
from analect_operator.specs.workloads import Serving

COMPONENT = "embedded"


def embedded(site: Site) -> Iterator[Manifest]:
    """One Deployment of one pod, never two on the same files, and its Service."""
    spec = site.spec.embedded
    assert spec is not None  # noqa: S101  (the caller looked)
    role = ["--role", "query"] if site.spec.mode == "ReadOnly" else []
    body = {
        "replicas": 0 if site.stopped or site.writers_stopped else 1,
        "selector": {"matchLabels": site.selector(COMPONENT)},
        "revisionHistoryLimit": 3,
        "strategy": {"type": "Recreate"},
        "template": pods.template(site, COMPONENT, ["analect", "serve", *role], spec.resources),
    }
    yield site.manifest("apps/v1", "Deployment", COMPONENT, COMPONENT, {"spec": body})
    yield service(site, COMPONENT, Serving(service_type=site.spec.ingest.service_type))
