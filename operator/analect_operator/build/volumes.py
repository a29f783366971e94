"""Volumes of a store, and the Secret with what the operator makes for it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Literal

from analect_operator.build.site import Manifest, Site
from analect_operator.specs.backends import Storage
from analect_operator.specs.quantities import canonical

_KEK_BYTES = 32
_PASSWORD_BYTES = 24


def claims(site: Site) -> Iterator[Manifest]:
    """The key ring's volume, the embedded store's, the backups'."""
    spec = site.spec
    ring = spec.keys.ring
    mode = "ReadWriteOnce" if site.embedded else ring.access_mode
    ring_storage = Storage(size=ring.size, storage_class_name=ring.storage_class_name)
    yield _claim(site, "keys", ring_storage, mode)
    if spec.embedded is not None:
        yield _claim(site, "data", spec.embedded.storage, "ReadWriteOnce")
    if spec.backup is not None and spec.backup.volume is not None:
        mode = "ReadWriteOnce" if site.embedded else "ReadWriteMany"
        yield _claim(site, "backups", spec.backup.volume, mode)


def _claim(
    site: Site, part: str, storage: Storage, mode: Literal["ReadWriteOnce", "ReadWriteMany"]
) -> Manifest:
    body: Manifest = {
        "accessModes": [mode],
        "resources": {"requests": {"storage": canonical(storage.size)}},
    }
    if storage.storage_class_name is not None:
        body["storageClassName"] = storage.storage_class_name
    return site.kept("v1", "PersistentVolumeClaim", part, part, {"spec": body})


def generated_secret(site: Site, random_bytes: Callable[[int], bytes]) -> Manifest:
    """Passwords and keys of this store, made once and never changed by the operator.

    ``api-key`` is a caller's first key and the operator's own; ``kek`` opens all data, so no
    owner reference ever collects this Secret under the policy `Retain`.
    """
    key = random_bytes(_PASSWORD_BYTES).hex()
    graph_password = random_bytes(_PASSWORD_BYTES).hex()
    values = {
        "api-key": key,
        "api-key-hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(),
        "kek": base64.b64encode(random_bytes(_KEK_BYTES)).decode(),
        "database-password": random_bytes(_PASSWORD_BYTES).hex(),
        "queue-password": random_bytes(_PASSWORD_BYTES).hex(),
        "graph-password": graph_password,
        "graph-auth": f"neo4j/{graph_password}",
    }
    data = {name: base64.b64encode(text.encode()).decode() for name, text in values.items()}
    return site.kept("v1", "Secret", "generated", "generated", {"type": "Opaque", "data": data})
