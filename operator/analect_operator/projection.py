"""Whether a live object still says what we said: its fields that are ours, as one hash.

The API server keeps in ``managedFields`` which fields of an object our last apply set. What those
fields hold now is compared with what we want. A field that somebody took over is no longer in our
entry, one that somebody removed has no value: in both cases the hash differs. What others added
is not ours and not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from analect_operator.api import FIELD_MANAGER

_IDENTITY = ("apiVersion", "kind")
_ADDRESS = ("name", "namespace")
_ENCODER = msgspec.json.Encoder(order="deterministic")

_NOTHING: dict[str, Any] = {"f:": {}}
"""Fields that no object has: none at all would mean the whole of it."""

Fields = dict[str, Any]
Part = Callable[[Any], Any]

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
            return _digest(_mine(live, entry["fieldsV1"]))
    return None


def _mine(live: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """What ``fields`` speak of. Stores are much alike, and so are their children: all but the owner
    is taken out by what was made for the first one of this shape.
    """
    meta = fields.get("f:metadata", {})
    owners = meta.get("f:ownerReferences")
    if owners is None:
        part: dict[str, Any] = _of_shape(msgspec.json.encode(fields))(live)
        return part
    alike = {name: inner for name, inner in meta.items() if name != "f:ownerReferences"}
    part = _of_shape(msgspec.json.encode(fields | {"f:metadata": alike or _NOTHING}))(live)
    there = live["metadata"].get("ownerReferences", ())
    by_key = {f'k:{{"uid":"{one["uid"]}"}}': one for one in there}
    part["metadata"]["ownerReferences"] = _sorted(
        [
            _of_shape(msgspec.json.encode(inner))(by_key[name])
            for name, inner in owners.items()
            if name in by_key
        ]
    )
    return part


def _part(fields: Fields) -> Part:
    """What takes the part that ``fields`` speak of out of a value, settled."""
    if not fields or (len(fields) == 1 and "." in fields):
        return _settled
    if any(name[0] in "kv" for name in fields):
        return _items(fields)
    leaves = [name[2:] for name, inner in fields.items() if name[0] == "f" and not inner]
    deeper = [
        (name[2:], _part(inner)) for name, inner in fields.items() if name[0] == "f" and inner
    ]

    def part(value: Any) -> Any:
        if not isinstance(value, dict):
            return {}
        found = {
            name: one if isinstance(one := value[name], str) else _settled(one)
            for name in leaves
            if name in value
        }
        for name, inner in deeper:
            if name in value:
                found[name] = inner(value[name])
        return found

    return part


def _items(fields: Fields) -> Part:
    """The same for a list, whose items are known by their keys or by what they are."""
    wanted = [msgspec.json.decode(name[2:]) for name in fields if name[0] == "v"]
    keyed: dict[tuple[str, ...], list[tuple[tuple[Any, ...], Part]]] = {}
    for name, inner in fields.items():
        if name[0] == "k":
            keys = msgspec.json.decode(name[2:])
            keyed.setdefault(tuple(keys), []).append((tuple(keys.values()), _part(inner)))

    def items(values: Any) -> Any:
        if not isinstance(values, list):
            return {}
        found = [value for one in wanted for value in values if value == one]
        for names, parts in keyed.items():
            known = {tuple([value.get(name) for name in names]): value for value in values}
            found += [inner(known[key]) for key, inner in parts if key in known]
        return _sorted(found)

    return items


@lru_cache(maxsize=1024)
def _of_shape(shape: bytes) -> Part:
    return _part(msgspec.json.decode(shape))


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
