"""Analect keeps what language-model programs say and conclude.

The names below are the public ones of the library; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analect.client import AsyncClient, Client
    from analect.model.errors import AnalectError, TerminalError, TransientError
    from analect.model.query import PageRequest, RecordFilter, SearchRequest
    from analect.model.record import Draft, Record
    from analect.service import AnalysisService
    from analect.settings import Settings

__all__ = [
    "AnalectError",
    "AnalysisService",
    "AsyncClient",
    "Client",
    "Draft",
    "PageRequest",
    "Record",
    "RecordFilter",
    "SearchRequest",
    "Settings",
    "TerminalError",
    "TransientError",
]

_PLACES = {
    "AnalectError": "analect.model.errors",
    "AnalysisService": "analect.service",
    "AsyncClient": "analect.client",
    "Client": "analect.client",
    "Draft": "analect.model.record",
    "PageRequest": "analect.model.query",
    "Record": "analect.model.record",
    "RecordFilter": "analect.model.query",
    "SearchRequest": "analect.model.query",
    "Settings": "analect.settings",
    "TerminalError": "analect.model.errors",
    "TransientError": "analect.model.errors",
}


def __getattr__(name: str) -> Any:
    """A public name, imported now."""
    if name not in _PLACES:
        raise AttributeError(f"module 'analect' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
