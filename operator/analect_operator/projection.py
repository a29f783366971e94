"""Whether a live object still says what we said: its fields that are ours, as one hash.

The API server keeps in ``managedFields`` which fields of an object our last apply set. What those
fields hold now is compared with what we want. A field that somebody took over is no longer in our
entry, one that somebody removed has no value: in both cases the hash differs. What others added
is not ours and not seen.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import msgspec

from analect_operator.api import FIELD_MANAGER

_IDENTITY = ("apiVersion", "kind")
_ADDRESS = ("name", "namespace")
_ENCODER = msgspec.json.Encoder(order="deterministic")


Known = dict[int, Any]
"""Lists by identity, settled: what manifests of one store share is settled once."""


def wanted_digest(manifest: dict[str, Any], known: Known | None = None) -> str:
    """The hash of what we want; a manifest in the server's normal forms. ``known`` is kept from one
    to the next while all these manifests are.
    """
    body = {name: part for name, part in manifest.items() if name not in _IDENTITY}
    body["metadata"] = {
        name: part for name, part in manifest["metadata"].items() if name not in _ADDRESS
    }
    return _digest(_settled(body, known))


def live_digest(live: dict[str, Any]) -> str | None:
    """The hash of what a live object holds in the fields that are ours; None when none are."""
    for entry in live["metadata"].get("managedFields", ()):
        if (
            entry["manager"] == FIELD_MANAGER
            and entry["operation"] == "Apply"
            and "subresource" not in entry
        ):
            return _digest(_projected(live, entry["fieldsV1"]))
    return None


def _projected(value: Any, fields: dict[str, Any]) -> Any:
    """The part of ``value`` that ``fields`` speak of, settled; one pass, for there are many."""
    if not fields or (len(fields) == 1 and "." in fields):
        return _settled(value)
    if isinstance(value, list):
        return _items(value, fields)
    if not isinstance(value, dict):
        return {}
    return {
        part: _projected(value[part], inner) if inner else _settled(value[part])
        for name, inner in fields.items()
        if (part := name[2:]) in value and name[0] == "f"
    }


def _items(values: list[Any], fields: dict[str, Any]) -> list[Any]:
    found = []
    by_key: dict[tuple[str, ...], dict[tuple[Any, ...], Any]] = {}
    for name, inner in fields.items():
        if name[0] == "v":
            wanted = msgspec.json.decode(name[2:])
            found += [value for value in values if value == wanted]
        elif name[0] == "k":
            names, keys = _key(name)
            if names not in by_key:
                by_key[names] = {tuple(map(value.get, names)): value for value in values}
            if (value := by_key[names].get(keys)) is not None:
                found.append(value if _whole(value, inner) else _projected(value, inner))
    return _sorted(found)


def _whole(value: Any, fields: dict[str, Any]) -> bool:
    """Whether all of an item is ours, and all of it flat: most of them are a name and a value."""
    return (
        len(fields) == len(value) + 1
        and "." in fields
        and not any(fields.values())
        and not any(isinstance(part, (dict, list)) for part in value.values())
    )


@lru_cache(maxsize=4096)
def _key(name: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Names and values of an item's key, as in ``k:{"name":"http"}``."""
    keys = msgspec.json.decode(name[2:])
    return tuple(keys), tuple(keys.values())


def _digest(settled: Any) -> str:
    return hashlib.blake2b(_ENCODER.encode(settled), digest_size=12).hexdigest()


def _settled(value: Any, known: Known | None = None) -> Any:
    """Lists of objects in one order: the server keeps items by their keys, not by their place."""
    if isinstance(value, str):  # most of them
        return value
    if isinstance(value, dict):
        return {
            name: part if isinstance(part, str) else _settled(part, known)
            for name, part in value.items()
        }
    if isinstance(value, list):
        if known is None:
            return _sorted([_settled(part) for part in value])
        found = known.get(id(value))
        if found is None:
            found = known[id(value)] = _sorted([_settled(part, known) for part in value])
        return found
    return value


def _sorted(parts: list[Any]) -> list[Any]:
    """Settled parts in one order; where there is something to compare, as the texts that they
    will be.
    """
    if len(parts) < 2 or not isinstance(parts[0], dict):
        return parts
    return list(map(msgspec.Raw, sorted(map(_ENCODER.encode, parts))))
