"""A store that an earlier release filled works on with this one: every row, and work left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy
from sqlalchemy import Boolean, Engine, MetaData, Table, insert, select, text

from analect.lifecycle.retention.loading import parse_policy
from analect.model.ids import DAY
from analect.model.query import PageRequest, RecordFilter, SearchRequest
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.engine import is_postgres, open_engine, read_transaction, write_transaction
from analect.store.migrate import latest_version, migrate, schema_version
from analect.store.partitions import Partitions

BEFORE = ("0001", "0002")
POLICY = parse_policy({"rules": [{"name": "all", "hotDays": 30, "then": "archive"}]})


def settings_of(folder: Path, url: str) -> Settings:
    return Settings(home=folder / "home", database_url=url, keys={"ring": folder / "ring"})


def fill(settings: Settings) -> list[str]:
    """Real rows: sealed records of two months, a document, and work that nobody has done yet."""
    with AnalysisService.open(settings) as service:
        now = service.clock()
        drafts = [
            Draft(
                occurred_at=now - days * DAY,
                thread_id="t",
                subject="anna",
                tags=["kept"],
                success=bool(days % 2),
                measures={"n": days},
                input=f"lighthouse of day {days}",
            )
            for days in (1, 2, 70, 71)
        ]
        ids = [one for one in service.ingest(drafts).ids if one is not None]
        service.put_document("user", "anna", {"email": "anna@example.org"}, owner="anna")
        return ids


def copy(source: Engine, target: Engine) -> None:
    """All rows, in the columns that the older schema has."""
    there, here = MetaData(), MetaData()
    there.reflect(source)
    here.reflect(target)
    for name in here.tables:
        if name in {"alembic_version", "record_tags", "records"} or name.startswith("records_"):
            continue
        if name in there.tables and not name.startswith("record_tags_"):
            _copy(source, target, there.tables[name], here.tables[name])
    for name in ("records", "record_tags"):
        _copy(source, target, there.tables[name], Table(name, MetaData(), autoload_with=target))


def _copy(source: Engine, target: Engine, old: Table, new: Table) -> None:
    names = [column.name for column in new.columns if column.name in old.columns]
    with read_transaction(source) as connection:
        rows = [dict(row._mapping) for row in connection.execute(select(old))]
    with write_transaction(target) as connection:
        connection.execute(new.delete())
        for row in rows:
            kept = {name: _value(new.columns[name].type, row[name]) for name in names}
            connection.execute(insert(new), kept)


def _value(kind: Any, value: Any) -> Any:
    if isinstance(kind, sqlalchemy.UUID) and isinstance(value, bytes):
        return UUID(bytes=value)
    return bool(value) if isinstance(kind, Boolean) and value is not None else value


@pytest.mark.parametrize("before", BEFORE)
def test_a_store_of_an_earlier_release_is_upgraded_with_its_rows(
    before: str, elsewhere: str, tmp_path: Path
) -> None:
    filled = settings_of(tmp_path, f"sqlite:///{tmp_path}/filled.db")
    ids = fill(filled)
    source, target = open_engine(f"sqlite:///{tmp_path}/filled.db"), open_engine(elsewhere)
    assert migrate(target, before) == before
    Partitions(target).ensure_ids(ids)
    copy(source, target)
    if is_postgres(target):
        with write_transaction(target) as connection:  # numbers go on behind the copied rows
            for name in ("commits", "outbox", "data_keys"):
                serial = "key_id" if name == "data_keys" else "seq"
                connection.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{name}', '{serial}'),"
                        f" (SELECT coalesce(max({serial}), 0) + 1 FROM {name}), false)"
                    )
                )
    source.dispose()
    target.dispose()

    with AnalysisService.open(settings_of(tmp_path, elsewhere)) as service:
        assert schema_version(service.store.engine) == latest_version()
        assert [service.get(one).input for one in ids] == [
            f"lighthouse of day {days}" for days in (1, 2, 70, 71)
        ]
        assert service.get_document("user", "anna").body == {"email": "anna@example.org"}
        assert len(service.list(RecordFilter(tags=("kept",)), PageRequest()).items) == 4
        service.process()  # the work that was left over
        assert len(service.search(SearchRequest("lighthouse", mode="text")).items) == 4
        (more,) = service.ingest([Draft(thread_id="t", subject="anna", input="after")]).ids
        assert service.get(str(more)).input == "after"
        report = service.retention.run([POLICY], lambda _done, _total: None)
        assert report.archived == 2
        tiers = [one.tier for one in service.thread("t", PageRequest(descending=False)).items]
        assert tiers == ["warm", "warm", "hot", "hot", "hot"]
        receipt = service.erase("subject", "anna")
        assert receipt.state == "final"
        assert service.list(RecordFilter(), PageRequest()).items == ()
