"""From a pydantic model to the structural schema that an API server takes."""

from __future__ import annotations

from typing import Any

from analect_operator.specs.base import Spec

_PLAIN = frozenset(
    {
        "type",
        "description",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
        "minimum",
        "maximum",
        "format",
    }
)


def structural(model: type[Spec], *, defaults: bool = True) -> dict[str, Any]:
    """The schema of ``model``: nothing by reference, nothing nullable, defaults that nest. A
    status has no ``defaults``: it says what was said, and nothing more.
    """
    whole = model.model_json_schema(by_alias=True)
    made = _converted(whole, whole.get("$defs", {}))
    return made if defaults else _without_defaults(made)


def _without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    found = {name: part for name, part in schema.items() if name != "default"}
    if "properties" in found:
        fields = found["properties"].items()
        found["properties"] = {name: _without_defaults(part) for name, part in fields}
    for inner in ("items", "additionalProperties"):
        if inner in found:
            found[inner] = _without_defaults(found[inner])
    return found


def _converted(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _resolved(schema, definitions)
    extensions = {name: part for name, part in schema.items() if name.startswith("x-kubernetes-")}
    plain = {name: part for name, part in schema.items() if name in _PLAIN}
    if "const" in schema:
        plain["enum"] = [schema["const"]]
    if "x-kubernetes-int-or-string" in extensions:
        plain.pop("type", None)
        plain["anyOf"] = schema["anyOf"]
    if plain.get("type") == "object":
        plain |= _of_object(schema, definitions)
    if plain.get("type") == "array":
        plain["items"] = _converted(schema["items"], definitions)
    if (default := schema.get("default")) is not None:
        plain["default"] = _filled(plain) if isinstance(default, dict) else default
    if "minItems" in plain and plain["minItems"] == 0:
        del plain["minItems"]
    return plain | extensions


def _of_object(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "properties" in schema:
        found["properties"] = {
            name: _converted(part, definitions) for name, part in schema["properties"].items()
        }
        if schema.get("required"):
            found["required"] = schema["required"]
    elif isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = _converted(schema["additionalProperties"], definitions)
    return found


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """References followed, ``X or null`` as ``X``; what stands at the field wins, and the CEL
    rules of both places count.
    """
    while "$ref" in schema or _optional(schema):
        if "$ref" in schema:
            target = definitions[schema["$ref"].rpartition("/")[2]]
            rest = {name: part for name, part in schema.items() if name != "$ref"}
        else:
            target = next(part for part in schema["anyOf"] if part.get("type") != "null")
            rest = {name: part for name, part in schema.items() if name != "anyOf"}
        rules = target.get(_RULES, []) + rest.get(_RULES, [])
        schema = target | rest | ({_RULES: rules} if rules else {})
    return schema


def _filled(schema: dict[str, Any]) -> dict[str, Any]:
    """An object as its fields' defaults make it: rules are checked on defaults as they stand."""
    fields = schema.get("properties", {})
    return {name: part["default"] for name, part in fields.items() if "default" in part}


_RULES = "x-kubernetes-validations"


def _optional(schema: dict[str, Any]) -> bool:
    return any(part.get("type") == "null" for part in schema.get("anyOf", ()))
