"""A backup that an older release made is restored, and brought up to this release's schema."""

from __future__ import annotations

import pytest

from analect.lifecycle.backup.write import DERIVED, tables_of
from analect.model.query import PageRequest, RecordFilter
from analect.service import AnalysisService
from analect.store.engine import open_engine, read_transaction, write_transaction
from analect.store.migrate import known_versions, latest_version, migrate, schema_version
from analect.store.raw import insert_rows, raw_table, read_rows
from tests.integration.backing_up import Backed, drafts, everything


@pytest.fixture
def store_url(sqlite_url):
    """Rows are the same in both databases; where they come to is what differs."""
    return sqlite_url


def as_it_was(engine, version, url):
    """The same rows in a database of an older schema, as far as that has a place for them."""
    older = open_engine(url)
    migrate(older, version)
    with read_transaction(engine) as source, write_transaction(older) as target:
        for table in tables_of(source):
            there = raw_table(target, table.name)
            if there is None:
                continue
            columns = [name for name in table.columns if name in there.columns]
            places = [table.columns.index(name) for name in columns]
            target.exec_driver_sql(f"DELETE FROM {table.name}")
            rows = [tuple(row[place] for place in places) for row in read_rows(source, table)]
            insert_rows(target, there, columns, rows)
    older.dispose()


@pytest.mark.parametrize("version", sorted(known_versions() - {latest_version()}))
def test_an_older_releases_backup_is_brought_up(backed, settings, elsewhere, tmp_path, version):
    url = f"sqlite:///{tmp_path}/older/analect.db"
    (tmp_path / "older").mkdir()
    as_it_was(backed.engine, version, url)
    theirs = settings.model_copy(update={"database_url": type(settings.database_url)(url)})
    older = Backed(theirs, tmp_path / "older backups")
    assert schema_version(older.engine) == version
    assert older.write().schema == version
    done = older.restore(elsewhere)
    assert done.schema == (version, latest_version())
    older.engine.dispose()
    engine = open_engine(elsewhere)
    assert schema_version(engine) == latest_version()
    found, wanted = everything(engine), everything(backed.engine)
    engine.dispose()
    # What work is left for processors has other priorities since.
    for name in found.keys() - {"outbox"} - DERIVED:
        assert found[name] == wanted[name], name
    assert len(found["outbox"]) == len(wanted["outbox"])
    there = settings.model_copy(
        update={"database_url": type(settings.database_url)(elsewhere), "home": tmp_path / "new"}
    )
    with AnalysisService.open(there) as service:
        assert {
            one.payload_state for one in service.list(RecordFilter(), PageRequest(50)).items
        } == {"open"}
        assert service.get_document("story", "s1").body == {"title": "once"}
        assert len(service.ingest(drafts(2, subject="anna")).ids) == 2
