"""Can the truth be written now, and how big is it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sqlalchemy import Engine

from analect.model.errors import StoreUnavailable
from analect.store.engine import is_postgres, read_transaction, write_transaction

MIN_FREE = 4 * 1024 * 1024
"""Bytes beside a SQLite file below which a batch may not fit."""
PROBE_BYTES = 1024 * 1024

_PROBE = """
INSERT INTO meta (name, value) VALUES ('write_probe', '0')
ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(meta.value AS bigint) + 1 AS text)
"""
_ROOM = "CREATE TEMPORARY TABLE analect_probe ON COMMIT DROP AS SELECT repeat(md5(n::text), 32) FROM generate_series(1, 1024) AS n"


def check_writable(engine: Engine, *, thorough: bool = False) -> None:
    """Write something small; when ``thorough``, see whether a megabyte finds room too.

    Raises:
        StoreUnavailable: it did not work; ``disk_full`` says whether that is why.
    """
    if not is_postgres(engine):
        _check_room(sqlite_file(engine).parent, thorough=thorough)
    with write_transaction(engine, durable=False) as connection:
        connection.exec_driver_sql(_PROBE)
        if thorough and is_postgres(engine):
            connection.exec_driver_sql(_ROOM)


def size_of(engine: Engine) -> int:
    """Bytes of the database on disk.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    if is_postgres(engine):
        with read_transaction(engine) as connection:
            size = connection.exec_driver_sql("SELECT pg_database_size(current_database())")
            return int(size.scalar_one())
    path = sqlite_file(engine)
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def sqlite_file(engine: Engine) -> Path:
    """Where a SQLite engine's file is."""
    return Path(engine.url.database or "").expanduser()


def _check_room(folder: Path, *, thorough: bool) -> None:
    full = StoreUnavailable(
        "the disk of the data folder is full; free some space", retry_after=10.0, disk_full=True
    )
    try:
        if shutil.disk_usage(folder).free < MIN_FREE:
            raise full
        if thorough:
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(PROBE_BYTES))
                probe.flush()
    except OSError as error:
        raise full from error
