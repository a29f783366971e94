"""What the operator knows of the cluster: our own resources, Secrets by hash, what kinds exist."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from analect_operator.build import names
from analect_operator.build.site import Cluster
from analect_operator.resources import Ref

Body = dict[str, Any]
STORE = "AnalysisStore"
POLICY = "RetentionPolicy"
WORKS = ("Backup", "Restore", "Erasure")
_DIGITS = 16


class Secrets:
    """Keys of Secrets with short hashes of their values; the values are not kept."""

    def __init__(self, on_change: Callable[[Ref], None]) -> None:
        self._on_change = on_change
        self._known: dict[Ref, dict[str, str]] = {}

    def observe(self, item: Body, gone: bool) -> None:
        """An event of the watch."""
        ref = Ref.of(item)
        if gone:
            if self._known.pop(ref, None) is not None:
                self._on_change(ref)
            return
        found = {
            key: hashlib.sha256(f"{item['metadata']['uid']}{value}".encode()).hexdigest()[:_DIGITS]
            for key, value in item.get("data", {}).items()
        }
        if found != self._known.get(ref):
            self._known[ref] = found
            self._on_change(ref)

    def keys(self, namespace: str, name: str) -> frozenset[str] | None:
        """Keys that a Secret has; None when there is no such Secret."""
        found = self._known.get(Ref(namespace, "Secret", name))
        return None if found is None else frozenset(found)

    def digest(self, namespace: str, name: str) -> str | None:
        """Changes when a value does."""
        found = self._known.get(Ref(namespace, "Secret", name))
        if found is None:
            return None
        text = "".join(f"{key}={value};" for key, value in sorted(found.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


class World:
    """Our own resources as last seen, and who refers to whom."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._bodies: dict[Ref, Body] = {}
        self._by_uid: dict[str, Ref] = {}
        self._labelled: dict[tuple[str, str], Ref] = {}
        self._referring: defaultdict[Ref, set[Ref]] = defaultdict(set)

    def observe(self, body: Body, *, gone: bool) -> bool:
        """An event; whether it was news."""
        ref = Ref.of(body)
        before = self._bodies.get(ref)
        if gone:
            if before is None:
                return False
            del self._bodies[ref]
            self._by_uid.pop(before["metadata"]["uid"], None)
            if ref.kind == STORE:
                self._labelled.pop((ref.namespace, names.label(ref.name)), None)
            if (store := store_of(before)) is not None:
                self._referring[store].discard(ref)
            return True
        if before is not None and _version(body) <= _version(before):
            return False
        body["metadata"].pop("managedFields", None)
        self._bodies[ref] = body
        self._by_uid[body["metadata"]["uid"]] = ref
        if ref.kind == STORE:
            self._labelled[ref.namespace, names.label(ref.name)] = ref
        if (store := store_of(body)) is not None:
            self._referring[store].add(ref)
        return True

    def get(self, ref: Ref) -> Body | None:
        """The resource, or None."""
        return self._bodies.get(ref)

    def by_uid(self, uid: str) -> Ref | None:
        """The resource of this uid."""
        return self._by_uid.get(uid)

    def labelled(self, namespace: str, instance: str) -> Ref | None:
        """The store that is called so in the labels of its parts."""
        return self._labelled.get((namespace, instance))

    def refs(self, kind: str) -> list[Ref]:
        """All of a kind."""
        return [ref for ref in self._bodies if ref.kind == kind]

    def referring(self, store: Ref, kind: str) -> list[Body]:
        """Policies or works that name this store, the oldest first."""
        found = [self._bodies[ref] for ref in self._referring.get(store, ()) if ref.kind == kind]
        return sorted(
            found, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])
        )


def store_of(body: Body) -> Ref | None:
    """The store that a resource names; None for a store itself."""
    if body["kind"] == STORE:
        return None
    return Ref(body["metadata"]["namespace"], STORE, body["spec"]["storeRef"]["name"])


def conditions(body: Body) -> list[Body]:
    """What the status of a resource says."""
    found: list[Body] = body.get("status", {}).get("conditions", [])
    return found


def condition(body: Body, type_: str) -> Body | None:
    """One of its conditions."""
    return next((one for one in conditions(body) if one["type"] == type_), None)


def _version(body: Body) -> int:
    return int(body["metadata"]["resourceVersion"])
