"""Brings a database to the schema of this release, and refuses one of a later release."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from analect.model.errors import ConfigurationError
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.tables import metadata

log = structlog.get_logger(__name__)

MIGRATION_LOCK = 0x616E616C656374  # "analect": the advisory lock of whoever migrates


def migrate(engine: Engine, version: str | None = None) -> str:
    """Upgrade to this release's schema, or to an earlier ``version`` on the way there; several
    processes may call it at once.

    Returns:
        The schema version the database has now.

    Raises:
        ConfigurationError: the database belongs to a newer release.
        StoreUnavailable: the database cannot be reached or written.
    """
    wanted = version or latest_version()
    if schema_version(engine) == wanted:
        return wanted
    with write_transaction(engine) as connection:
        if is_postgres(connection):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        before = _version_of(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, wanted)
    log.info("schema migrated", before=before, now=wanted)
    return wanted


def known_versions() -> frozenset[str]:
    """Every schema version that this release can bring up to its own."""
    return _known_versions()


def schema_version(engine: Engine) -> str | None:
    """The database's schema version; None before the first migration.

    Raises:
        ConfigurationError: the database belongs to a newer release.
    """
    with read_transaction(engine) as connection:
        return _version_of(connection)


@cache
def latest_version() -> str:
    """The schema version of this release."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise ConfigurationError("this installation of analect lacks its migrations; reinstall it")
    return head


def own_tables_only(name: str | None, type_: str, _parents: object) -> bool:
    """Whether Alembic's comparison should look: partitions come and go beside the schema."""
    return type_ != "table" or name in metadata.tables


def _version_of(connection: Connection) -> str | None:
    version = MigrationContext.configure(connection).get_current_revision()
    if version is not None and version not in _known_versions():
        raise ConfigurationError(
            f"the database has schema {version}, newer than this release knows "
            f"({latest_version()}); upgrade analect, or restore a backup of the older schema",
            field="database_url",
        )
    return version


@cache
def _known_versions() -> frozenset[str]:
    revisions = ScriptDirectory.from_config(_config()).walk_revisions()
    return frozenset(revision.revision for revision in revisions)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
