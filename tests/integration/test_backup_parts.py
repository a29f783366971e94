"""Restoring a part, over a store, from an older schema; and erasures that came after the backup."""

from __future__ import annotations

import json

import pytest

from analect.lifecycle.backup.deciding import Selection
from analect.model.errors import Conflict, InvalidInput
from analect.model.query import PageRequest, RecordFilter
from analect.service import AnalysisService
from analect.store.engine import open_engine
from tests.integration.backing_up import drafts, everything
from tests.integration.commands import Commands


def opened(settings, url, home):
    """The restored store as its users see it."""
    update = {"database_url": type(settings.database_url)(url), "home": home}
    return AnalysisService.open(settings.model_copy(update=update))


def rows_at(url):
    engine = open_engine(url)
    try:
        return everything(engine)
    finally:
        engine.dispose()


def test_who_was_erased_since_is_not_in_it_without_payloads_either(
    backed, settings, elsewhere, tmp_path
):
    with AnalysisService.open(settings) as service:
        bare = service.ingest(drafts(3, subject="carla", name="bare"), omit_payload=True).ids
        service.feedback(bare[0], rating=2)
        other = service.ingest(drafts(2, subject="dora"), omit_payload=True).ids
        service.put_document("user", "carla", {"mail": "c@example.org"}, owner="carla")
    backed.write()
    with AnalysisService.open(settings) as service:
        receipt = service.erase("subject", "carla")
        assert receipt.state == "final"
        service.erase("record", other[0])
    restored = backed.restore(elsewhere)
    assert restored.erased == 2
    # Its own three, the evaluation of one of them (of the same subject), and the one of dora.
    assert restored.dropped["records"] == 5
    rows = rows_at(elsewhere)
    assert len(rows["records"]) == 12 + 1
    assert len(rows["documents"]) == 1
    with opened(settings, elsewhere, tmp_path / "again") as service:
        assert {one.id for one in service.erasures()} >= {receipt.id}
        assert all(one.state == "final" for one in service.erasures())
        left = service.list(RecordFilter(), PageRequest(100)).items
        assert not {one.id for one in left} & {*bare, other[0]}


def test_who_came_back_after_an_erasure_stays(backed, settings, elsewhere):
    with AnalysisService.open(settings) as service:
        service.erase("subject", "anna")
        service.ingest(drafts(4, subject="anna"))
    backed.write()
    restored = backed.restore(elsewhere)
    assert (restored.erased, restored.dropped) == (0, {})
    assert restored.rows["records"] == 7 + 4


def test_the_list_of_the_erased_is_not_to_be_changed(backed, settings):
    with AnalysisService.open(settings) as service:
        service.erase("subject", "anna")
    path = settings.ring / "erased"
    found = json.loads(path.read_bytes())
    assert [one["scope"] for one in found["items"]] == ["subject"]
    found["items"] = []
    path.write_text(json.dumps(found))
    with pytest.raises(Exception, match="erasures"):
        backed.erased()


def test_an_older_copy_of_the_database_learns_of_erasures_when_it_is_opened(
    settings, tmp_path, sqlite_url
):
    if "sqlite" not in settings.database_url.get_secret_value():
        pytest.skip("a file is copied")
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(3, subject="carla"), omit_payload=True)
        service.ingest(drafts(2, subject="dora"))
    engine = open_engine(settings.database_url.get_secret_value())
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql(f"VACUUM INTO '{tmp_path}/old.db'")
    engine.dispose()
    with AnalysisService.open(settings) as service:
        service.erase("subject", "carla")
    with opened(settings, f"sqlite:///{tmp_path}/old.db", tmp_path / "old") as service:
        service._parts.background._first()
        service._parts.eraser.settle()
        left = service.list(RecordFilter(), PageRequest(100)).items
        assert len(left) == 2
        assert [one.state for one in service.erasures()] == ["final"]


@pytest.mark.parametrize(
    "part",
    [
        ({"subjects": {"anna"}}, 5, 1),
        ({"threads": {"one"}}, 5, 0),
        ({"kinds": {"event"}}, 2, 0),
        ({"tables": {"documents", "document_versions"}}, 0, 2),
    ],
)
def test_a_part_is_restored(backed, settings, elsewhere, tmp_path, part):
    selection, records, documents = part
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(2, kind="event"))
        service.put_document("user", "a", {"name": "Anna"}, owner="anna")
        made = service._parts.pseudonymiser
    backed.write()
    backed.job().incremental()
    names = {"subjects": ("identifier", "subject"), "threads": ("promoted", "thread_id")}
    asked = {
        what: frozenset(
            getattr(made, names[what][0])(names[what][1], v) if what in names else v for v in values
        )
        for what, values in selection.items()
    }
    restored = backed.restore(elsewhere, selection=Selection(**asked))
    assert (restored.rows["records"], restored.rows["documents"]) == (records, documents)
    with opened(settings, elsewhere, tmp_path / "part") as service:
        page = service.changes(None, 100)
        assert len(page.items) == records
        assert len(service.list(RecordFilter(), PageRequest(100)).items) == records
        if documents and not records:
            assert service.get_document("user", "a").body == {"name": "Anna"}


def test_a_table_that_is_not_there_is_refused(backed, elsewhere):
    backed.write()
    with pytest.raises(InvalidInput, match="no table"):
        backed.restore(elsewhere, selection=Selection(tables=frozenset({"nothing"})))


def test_a_store_is_put_back_in_its_place(backed, settings):
    backed.write()
    before = everything(backed.engine)
    url = settings.database_url.get_secret_value()
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(9, subject="later"))
    with pytest.raises(Conflict, match="--replace"):
        backed.restore(url)
    backed.restore(url, replace=True)
    assert everything(backed.engine) == before
    assert backed.job().base() is None
    with AnalysisService.open(settings) as service:
        assert len(service.ingest(drafts(3, subject="anna")).ids) == 3
        assert service.get_document("story", "s1").body == {"title": "once"}


def test_another_store_is_not_replaced(backed, settings, elsewhere, tmp_path):
    backed.write()
    theirs = settings.model_copy(
        update={"keys": settings.keys.model_copy(update={"ring": tmp_path / "theirs"})}
    )
    with opened(theirs, elsewhere, tmp_path / "b") as service:
        service.ingest(drafts(1))
    with pytest.raises(Conflict, match="another one"):
        backed.restore(elsewhere, replace=True)


@pytest.mark.usefixtures("commands_without_logs")
def test_the_commands_restore_a_part_and_a_moment(backed, settings, tmp_path):
    run, dest = Commands(settings), str(tmp_path / "dest")
    assert run("backup", "create", dest, "--i-have-the-recovery-key")[0] == 0
    code, made = run("backup", "create", dest, "--kind", "daily")
    assert (code, made["kind"], made["parent"] is None) == (0, "daily", False)
    code, shown = run("backup", "show", dest)
    assert (code, shown["id"], "keyset" in shown) == (0, made["id"], False)
    code, pruned = run("backup", "prune", dest, "--keep-last", "1", "--dry-run")
    assert (code, pruned["removed"], pruned["dry_run"]) == (0, [], True)
    code, said = run("restore", dest, "--dry-run", "--subjects", "-", said="anna\n")
    assert (code, said["rows"]["records"]) == (0, 5)
    code, said = run("restore", dest, "--dry-run", "--to", "2001-01-01")
    assert (code, "so old" in said) == (4, True)
    code, said = run("restore", dest, "--to", "0s", "--dry-run")
    assert (code, said["rows"]["records"]) == (0, 12)
    assert run("restore", dest, "--to", "0s", "--id", made["id"])[0] == 2
