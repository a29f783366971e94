"""Brings a database to the schema of this release, and refuses one of a later release.

Alembic is loaded only where there is something to migrate: it is an eighth of what a command takes
to start.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, inspect

from analect.model.errors import ConfigurationError
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.tables import metadata

log = structlog.get_logger(__name__)

MIGRATION_LOCK = 0x616E616C656374  # "analect": the advisory lock of whoever migrates
_MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION_TABLE = "alembic_version"  # Alembic's own name


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
        before = version_of(connection)
        _upgrade(connection, wanted)
    log.info("schema migrated", before=before, now=wanted)
    return wanted


@cache
def known_versions() -> frozenset[str]:
    """Every schema version that this release can bring up to its own: a migration's file begins
    with its name.
    """
    files = (_MIGRATIONS / "versions").glob("[0-9]*.py")
    return frozenset(file.name.partition("_")[0] for file in files)


def schema_version(engine: Engine) -> str | None:
    """The database's schema version; None before the first migration.

    Raises:
        ConfigurationError: the database belongs to a newer release.
    """
    with read_transaction(engine) as connection:
        return version_of(connection)


def latest_version() -> str:
    """The schema version of this release."""
    if not known_versions():
        raise ConfigurationError("this installation of analect lacks its migrations; reinstall it")
    return max(known_versions())


def own_tables_only(name: str | None, type_: str, _parents: object) -> bool:
    """Whether Alembic's comparison should look: partitions come and go beside the schema."""
    return type_ != "table" or name in metadata.tables


def _upgrade(connection: Connection, version: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def version_of(connection: Connection) -> str | None:
    """The same as :func:`schema_version`, of a transaction that is under way."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    version = connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION_TABLE}").scalar()
    if version is not None and version not in known_versions():
        raise ConfigurationError(
            f"the database has schema {version}, newer than this release knows "
            f"({latest_version()}); upgrade analect, or restore a backup of the older schema",
            field="database_url",
        )
    return version
