"""Older configuration: keyword arguments and what they mean in the settings tree."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import structlog

from analect.settings import OLDER_NAMES, Settings

log = structlog.get_logger(__name__)

_SHORT = {
    "storage_dir": "home",
    "storage_path": "home",
    "data_dir": "home",
    "auto_process": "processing.auto",
    "batch_size": "processing.batch_size",
}
_NAMES = {**{name.lower(): setting for name, setting in OLDER_NAMES.items()}, **_SHORT}
"""Name of an argument -> the setting it means."""
_DEFAULTS = {
    "service_name": "service",
    "project": "project",
    "environment": "environment",
    "source": "source",
}
"""Name of an argument -> the field it says of every record that does not say otherwise."""
_ENGINES = ("qdrant_", "neo4j_", "redis_", "faiss_", "elasticsearch_", "opensearch_")
"""What further arguments for engines begin with: taken, and without effect."""
_SECRET = ("password", "api_key", "url")
"""How settings end that are secret, or may hold a secret."""


def configured(config: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The settings that ``config`` means over the environment, and what it says of every record.

    ``None`` is "not said". A name nobody knows is left out with a warning: the program that
    passes it runs on.

    Raises:
        ConfigurationError: a value is wrong.
    """
    values: dict[str, Any] = {}
    defaults: dict[str, str] = {}
    for name, value in config.items():
        lowered = name.lower()
        if value is None:
            continue
        if lowered in _DEFAULTS:
            defaults[_DEFAULTS[lowered]] = str(value)
        elif lowered in _NAMES:
            _put(values, _NAMES[lowered].split("."), value)
        elif lowered in Settings.model_fields:
            _merge(values, lowered, value)
        elif not lowered.startswith(_ENGINES):
            log.warning("unknown configuration is left out", name=name[:64])
    return Settings(**values), defaults


def integration_config() -> dict[str, Any]:
    """The settings that have an older name, as the environment has them."""
    settings = Settings()
    first = {setting: name.lower() for name, setting in reversed(OLDER_NAMES.items())}
    shown = {name: setting for setting, name in first.items() if not name.endswith(_SECRET)}
    found = {name: attrgetter(setting)(settings) for name, setting in shown.items()}
    home = found.pop(first["home"])
    return {"storage_dir": str(home), **found}


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    *groups, last = path
    for group in groups:
        values = values.setdefault(group, {})
    values[last] = value


def _merge(values: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        values[name] = {**values.get(name, {}), **value}
    else:
        values[name] = value
