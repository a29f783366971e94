"""Objects as the API server tells them, read as far as anybody here looks."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec


class Entry(msgspec.Struct):
    """Who wrote fields of an object, and which: those as they came, for they are as long as all the
    rest of it, and much the same for thousands of objects.
    """

    manager: str
    operation: str
    subresource: str = ""
    fieldsV1: msgspec.Raw = msgspec.Raw(b"{}")  # noqa: N815  (as it is called there)


class Meta(TypedDict, total=False):
    """What is read of an object's metadata."""

    name: str
    namespace: str
    uid: str
    resourceVersion: str
    generation: int
    creationTimestamp: str
    deletionTimestamp: str
    labels: dict[str, str]
    annotations: dict[str, str]
    finalizers: list[str]
    ownerReferences: list[dict[str, Any]]
    managedFields: list[Entry]


_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_META = msgspec.json.Decoder(Meta)
_ANY = msgspec.json.Decoder()


def decoded(text: bytes | msgspec.Raw) -> dict[str, Any]:
    """An object, as it is in JSON but for its ``managedFields``, which are `Entry`."""
    parts = _PARTS.decode(text)
    meta = _META.decode(parts.pop("metadata"))
    return {"metadata": meta, **{name: _ANY.decode(part) for name, part in parts.items()}}
