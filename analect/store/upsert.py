"""INSERT with ON CONFLICT, which both dialects have and SQLAlchemy offers one by one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from analect.store.engine import is_postgres


def insert_into(connection: Connection, table: Table) -> Any:
    """``INSERT INTO table`` of the connection's dialect, with ``on_conflict_do_*``."""
    return (postgresql if is_postgres(connection) else sqlite).insert(table)
