"""Engines for the tests: real servers, started once a session, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from analect.settings import Search
from tests.conftest import requires
from tests.engines.maven import CannotBuild
from tests.engines.neo4j.server import Neo4jServer
from tests.engines.opensearch.server import OpenSearchServer


class Server(Protocol):
    """What a session starts and stops."""

    def wait(self) -> Any: ...

    def close(self) -> None: ...


LAUNCHERS: dict[str, Callable[[], Server]] = {
    "neo4j": Neo4jServer,
    "opensearch": OpenSearchServer,
}
"""By the name of the fixture that gives the server; each starts it and does not wait."""


@pytest.fixture(scope="session")
def launched(request: pytest.FixtureRequest) -> Iterator[dict[str, Server | CannotBuild]]:
    """Every server that a test of this session asks for, started."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with ExitStack() as stack:
        found: dict[str, Server | CannotBuild] = {}
        for name in sorted(LAUNCHERS.keys() & wanted):
            try:
                found[name] = LAUNCHERS[name]()
            except CannotBuild as error:
                found[name] = error
            else:
                stack.callback(found[name].close)
        yield found


def ready(launched: dict[str, Server | CannotBuild], name: str) -> Any:
    """The server of this name, once it answers."""
    server = launched[name]
    if isinstance(server, CannotBuild):
        requires("engines", str(server))
    return server.wait()


@pytest.fixture(scope="session")
def opensearch(launched: dict[str, Server | CannotBuild]) -> OpenSearchServer:
    """An OpenSearch of this session's own; whoever stops it starts it again."""
    return ready(launched, "opensearch")


@pytest.fixture
def place(opensearch: OpenSearchServer) -> Iterator[Search]:
    """Settings for indices that are this test's own."""
    from tests.engines.search import drop, fresh_settings

    place = fresh_settings(opensearch.url)
    yield place
    drop(place)


@pytest.fixture(scope="session")
def neo4j(launched: dict[str, Server | CannotBuild]) -> Neo4jServer:
    """A Neo4j of this session's own; whoever stops it starts it again."""
    return ready(launched, "neo4j")
