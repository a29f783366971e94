from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from analect.model.errors import ConfigurationError
from analect.store.engine import open_engine, read_transaction, write_transaction
from analect.store.migrate import (
    known_versions,
    latest_version,
    migrate,
    own_tables_only,
    schema_version,
)
from analect.store.tables import metadata


def test_the_migrations_make_exactly_the_tables(engine):
    with read_transaction(engine) as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": own_tables_only, "compare_type": True},
        )
        assert compare_metadata(context, metadata) == []


def test_a_second_migration_changes_nothing(engine):
    assert schema_version(engine) == latest_version()
    assert migrate(engine) == latest_version()


def test_the_versions_are_those_of_alembic():
    config = Config()
    config.set_main_option("script_location", "analect:store/migrations")
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert {script.revision for script in scripts.walk_revisions()} == known_versions()
    assert scripts.get_current_head() == latest_version()


def test_where_nothing_is_to_be_migrated_alembic_is_not_loaded(store_url):
    program = """
import sys
from analect.store.engine import open_engine
from analect.store.migrate import migrate
print(migrate(open_engine(sys.argv[1])), "alembic" in sys.modules)
"""
    command = [sys.executable, "-c", program, store_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{latest_version()} False\n"


def test_a_fresh_database_has_no_version(empty_url):
    engine = open_engine(empty_url)
    assert schema_version(engine) is None
    engine.dispose()


def test_threads_may_migrate_together(empty_url):
    def run(_: int) -> str:
        engine = open_engine(empty_url)
        try:
            return migrate(engine)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(run, range(4))) == {latest_version()}


def _migrate(url: str) -> str:
    engine = open_engine(url)
    try:
        return migrate(engine)
    finally:
        engine.dispose()


def test_processes_may_migrate_together(empty_url):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert set(pool.map(_migrate, [empty_url] * 4, chunksize=1)) == {latest_version()}


def test_a_database_of_a_newer_release_is_refused(engine):
    with write_transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer than this release"):
        migrate(engine)


def test_postgres_partitions_by_the_id(postgres_url):
    engine = open_engine(postgres_url)
    migrate(engine)
    with read_transaction(engine) as connection:
        rows = connection.execute(
            text(
                "SELECT relname, pg_get_partkeydef(oid) FROM pg_class "
                "WHERE relkind = 'p' ORDER BY relname"
            )
        ).all()
        storage = connection.execute(
            text(
                "SELECT attstorage FROM pg_attribute "
                "WHERE attrelid = 'records'::regclass AND attname = 'payload'"
            )
        ).scalar_one()
    engine.dispose()
    assert rows == [("record_tags", "RANGE (record_id)"), ("records", "RANGE (id)")]
    assert storage in {"e", b"e"}
