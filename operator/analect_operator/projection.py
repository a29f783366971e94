"""Whether a live object still says what we said: its fields that are ours, as one hash.

The API server keeps in ``managedFields`` which fields of an object our last apply set. What those
fields hold now is compared with what we want. A field that somebody took over is no longer in our
entry, one that somebody removed has no value: in both cases the hash differs. What others added
is not ours and not seen.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from analect_operator.api import FIELD_MANAGER

_IDENTITY = ("apiVersion", "kind")
_ADDRESS = ("name", "namespace")


def wanted_digest(manifest: dict[str, Any]) -> str:
    """The hash of what we want; a manifest in the server's normal forms."""
    body = {name: part for name, part in manifest.items() if name not in _IDENTITY}
    body["metadata"] = {
        name: part for name, part in manifest["metadata"].items() if name not in _ADDRESS
    }
    return _digest(body)


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
    if not any(name != "." for name in fields):
        return value
    if isinstance(value, list):
        return _items(value, fields)
    found = {}
    for name, inner in fields.items():
        if name.startswith("f:") and isinstance(value, dict) and name[2:] in value:
            found[name[2:]] = _projected(value[name[2:]], inner)
    return found


def _items(values: list[Any], fields: dict[str, Any]) -> list[Any]:
    found = []
    for name, inner in fields.items():
        kind, _, key = name.partition(":")
        if kind == "v":
            wanted = msgspec.json.decode(key)
            found += [value for value in values if value == wanted]
        elif kind == "k":
            keys = msgspec.json.decode(key)
            found += [
                _projected(value, inner)
                for value in values
                if all(value.get(part) == wanted for part, wanted in keys.items())
            ]
    return found


def _digest(body: Any) -> str:
    return hashlib.blake2b(
        msgspec.json.encode(_settled(body), order="deterministic"), digest_size=12
    ).hexdigest()


def _settled(value: Any) -> Any:
    """Lists of objects in one order: the server keeps items by their keys, not by their place."""
    if isinstance(value, dict):
        return {name: _settled(part) for name, part in value.items()}
    if isinstance(value, list):
        parts = [_settled(part) for part in value]
        if parts and isinstance(parts[0], dict):
            parts.sort(key=lambda part: msgspec.json.encode(part, order="deterministic"))
        return parts
    return value
