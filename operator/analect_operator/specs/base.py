"""What all specs are made of: the base class, bounded texts, and rules that the API server checks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "analect.dev"
VERSION = "v1alpha1"


class Spec(BaseModel):
    """Part of a custom resource: camelCase outside, immutable, and what newer versions added is
    ignored (the API server has refused what no version knows).
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL rules of an object or a field: pairs of what must hold and what to do when it does not."""
    return {
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]
    }


def checked(*pairs: tuple[str, str]) -> ConfigDict:
    """The configuration of a model with CEL rules of its own."""
    return ConfigDict(json_schema_extra=rules(*pairs))


def exactly_one(*names: str) -> tuple[str, str]:
    """Exactly one of these fields is given."""
    count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return f"{count} == 1", f"give exactly one of {', '.join(names)}"


IMMUTABLE = ("self == oldSelf", "this cannot be changed; make a new store and restore a backup")

_QUANTITY = r"^[0-9]+(\.[0-9]{1,3})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_CRON = r"^(@(hourly|daily|weekly|monthly|yearly)|\S{1,60}( \S{1,60}){4})$"

Text = Annotated[str, Field(min_length=1, max_length=253)]
Name = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""The name of another object of the namespace."""
Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
SecretKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[a-z][a-z0-9+.-]*://\S+$",
        json_schema_extra=rules(
            ("!self.contains('@')", "leave user and password out: name their Secret in secretRef")
        ),
    ),
]
"""An address without user and password: those belong into a Secret."""
Image = Annotated[
    str, Field(min_length=1, max_length=512, pattern=r"^[a-zA-Z0-9][-a-zA-Z0-9._/:@]*$")
]
Cron = Annotated[str, Field(min_length=6, max_length=128, pattern=_CRON)]
TimeZone = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9+_/-]+$")]
Quantity = Annotated[
    str | int,
    Field(
        union_mode="left_to_right",
        json_schema_extra={
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": _QUANTITY,
            "maxLength": 32,
        },
    ),
]
"""Kubernetes' own notation: ``500m``, ``2``, ``1Gi``."""
Count = Annotated[int, Field(ge=0, le=1000)]
Days = Annotated[int, Field(ge=0, le=36500)]
Free = Annotated[
    dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]
"""A part that Kubernetes itself checks when the pods are made."""


def keyed(*keys: str) -> dict[str, Any]:
    """A list whose items are told apart by these fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
