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

Fields = dict[str, Any]
Part = Callable[[Any], Any]


def wanted_digest(manifest: dict[str, Any]) -> str:
    """The hash of what we want; a manifest in the server's normal forms."""
    body = {name: part for name, part in manifest.items() if name not in _IDENTITY}
    body["metadata"] = {
        name: part for name, part in manifest["metadata"].items() if name not in _ADDRESS
    }
    return _digest(body)


def live_digest(live: dict[str, Any]) -> str | None:
    """The hash of what a live object, `decoded`, holds in the fields that are ours; None when none
    are.
    """
    for entry in live["metadata"].get("managedFields", ()):
        if entry.manager == FIELD_MANAGER and entry.operation == "Apply" and not entry.subresource:
            return _digest(_mine(live, bytes(entry.fieldsV1)))
    return None


def sized(live: dict[str, Any]) -> bool:
    """Whether the number of pods of a live workload is a field of ours."""
    return any(
        b'"f:replicas"' in bytes(entry.fieldsV1)
        for entry in live["metadata"].get("managedFields", ())
        if entry.manager == FIELD_MANAGER and entry.operation == "Apply" and not entry.subresource
    )


def _mine(live: dict[str, Any], fields: bytes) -> dict[str, Any]:
    """What ``fields`` speak of. Stores are much alike, and so are their children: but for the uid
    of the owner, that is taken out by what was made for the first one of this shape.
    """
    for place, owner in enumerate(live["metadata"].get("ownerReferences", ())):
        fields = fields.replace(_owner(owner["uid"]), _owner(str(place)))
    part: dict[str, Any] = _of_shape(fields)(live)
    return part


def _owner(uid: str) -> bytes:
    """How an owner is called in ``fieldsV1``."""
    return b'"k:{\\"uid\\":\\"' + uid.encode() + b'\\"}"'


def _part(fields: Fields) -> Part:
    """What takes the part that ``fields`` speak of out of a value."""
    if not fields or (len(fields) == 1 and "." in fields):
        return _all
    if any(name[0] in "kv" for name in fields):
        return _items(fields)
    leaves = [name[2:] for name, inner in fields.items() if name[0] == "f" and not inner]
    deeper = [
        (name[2:], _part(inner)) for name, inner in fields.items() if name[0] == "f" and inner
    ]

    def part(value: Any) -> Any:
        if not isinstance(value, dict):
            return {}
        found = {name: value[name] for name in leaves if name in value}
        for name, inner in deeper:
            if name in value:
                found[name] = inner(value[name])
        return found

    return part


def _items(fields: Fields) -> Part:
    """The same for a list, whose items are known by their keys or by what they are. Their order is
    the server's, which keeps to that of who applied them.
    """
    wanted = [msgspec.json.decode(name[2:]) for name in fields if name[0] == "v"]
    keyed: dict[tuple[str, ...], dict[Any, Part]] = {}
    for name, inner in fields.items():
        if name[0] == "k":
            keys = msgspec.json.decode(name[2:])
            names = tuple(keys)
            keyed.setdefault(names, {})[_key(names)(-1, keys)] = _part(inner)
    parts = [(_key(names), by_key) for names, by_key in keyed.items()]

    def items(values: Any) -> Any:
        if not isinstance(values, list):
            return {}
        found = [value for value in values if value in wanted] if wanted else []
        for key, by_key in parts:
            for place, value in enumerate(values):
                if (inner := by_key.get(key(place, value))) is not None:
                    found.append(inner(value))
        return found

    return items


def _key(names: tuple[str, ...]) -> Callable[[int, dict[str, Any]], Any]:
    """What tells items of a list apart, from an item and its place."""
    if len(names) > 1:
        return lambda _place, item: tuple([item.get(name) for name in names])
    (name,) = names
    if name == "uid":
        # In a shape an owner is known by its place.
        return lambda place, item: item[name] if place < 0 else str(place)
    return lambda _place, item: item.get(name)


def _all(value: Any) -> Any:
    return value


@lru_cache(maxsize=1024)
def _of_shape(shape: bytes) -> Part:
    return _part(msgspec.json.decode(shape))


def _digest(part: dict[str, Any]) -> str:
    return hashlib.blake2b(_ENCODER.encode(part), digest_size=12).hexdigest()
