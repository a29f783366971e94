"""One HTML page of all calls, made from the OpenAPI document: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } summary { cursor: pointer; padding: .3rem 0; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
b { display: inline-block; width: 4.5rem; font: 700 13px ui-monospace, monospace; }
table { border-collapse: collapse; margin: .3rem 0 1rem; }
td { border-bottom: 1px solid #ddd; padding: .15rem .8rem .15rem 0; vertical-align: top; }
pre { background: #f5f5f5; padding: .6rem; overflow: auto; }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #ddd; } a { color: #8bf; } pre { background: #222; }
  td { border-color: #333; }
}
"""


def docs_page(document: dict[str, Any]) -> str:
    """The page."""
    info = document["info"]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info.get('description', ''))} "
        "As a document for programs: <a href=openapi.json>openapi.json</a>.</p>"
        f"<h2>Calls</h2>{''.join(_calls(document))}"
        f"<h2>Schemas</h2>{''.join(_schemas(document))}</html>"
    )


def _calls(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield (
                f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> — "
                f"{escape(call.get('summary', ''))}</summary>"
                f"{_parameters(call)}{_body(call)}{_answers(call)}</details>"
            )


def _parameters(call: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}"
        f"<td>{_shape(one.get('schema', {}))}<td>{_words(one)}"
        for one in call.get("parameters", ())
    )
    return f"<table>{rows}</table>" if rows else ""


def _body(call: dict[str, Any]) -> str:
    content = call.get("requestBody", {}).get("content", {})
    parts = [f"{escape(media)}: {_shape(one['schema'])}" for media, one in content.items()]
    return f"<p>Body: {'; '.join(parts)}</p>" if parts else ""


def _answers(call: dict[str, Any]) -> str:
    parts = []
    for status, answer in call["responses"].items():
        content = answer.get("content", {})
        shapes = ", ".join(_shape(one.get("schema", {})) for one in content.values())
        parts.append(f"{status} {shapes}".strip() if shapes else escape(status))
    return f"<p>Answers: {'; '.join(parts)}</p>"


def _shape(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f"<a href='#{name}'>{name}</a>"
    if "oneOf" in schema:
        return " or ".join(_shape(one) for one in schema["oneOf"])
    if schema.get("type") == "array":
        return f"list of {_shape(schema.get('items', {}))}"
    if "items" in schema.get("properties", {}):
        return _shape(schema["properties"]["items"])
    if "enum" in schema:
        return " | ".join(escape(str(one)) for one in schema["enum"])
    kind = schema.get("type", "any")
    return escape(kind if isinstance(kind, str) else " | ".join(kind))


def _words(one: dict[str, Any]) -> str:
    schema = one.get("schema", {})
    text = one.get("description") or schema.get("description", "")
    if "default" in schema:
        text = f"{text} Default: {json.dumps(schema['default'])}."
    return escape(text.strip())


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        yield f"<details id='{escape(name)}'><summary>{escape(name)}</summary><pre>{text}</pre></details>"
