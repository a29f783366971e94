"""Backups of what changed: chains that end in the same store, and are refused when a link is not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, event, text

from analect.lifecycle.backup.check import check
from analect.lifecycle.backup.keeping import Keeping, to_remove
from analect.lifecycle.backup.pruning import leftovers, prune, remove
from analect.model.errors import Conflict, Corrupt
from analect.model.ids import DAY, to_micros
from analect.model.query import Annotation
from analect.service import AnalysisService
from analect.store.alone import alone
from analect.store.changes import TRACKED, Changes
from analect.store.dropping import IdSum, drop_month
from analect.store.engine import is_postgres, open_engine, read_transaction, write_transaction
from tests.integration.backing_up import clock, drafts, everything
from tests.integration.commands import Commands


def change(settings, number):
    """Add, replace and remove of everything that can be."""
    with AnalysisService.open(settings) as service:
        added = service.ingest(drafts(4, subject=f"person {number}", session_id="s"), dedupe=True)
        service.ingest(drafts(3, subject="boris", thread_id="one"))
        service.put_document("story", "s1", {"title": f"again {number}"})
        service.put_document("story", f"new {number}", {"title": "new"}, owner="anna")
        if number > 1:
            service.delete_document("story", f"new {number - 1}")
        about = added.ids[0]
        service._parts.conclusions.keep(
            [
                Annotation(about, "test", 1, "language", value="en"),
                Annotation(about, "test", 1, "topic", text=f"topic {number}"),
            ]
        )
        service.feedback(added.ids[1], rating=number)
        service.erase("record", added.ids[2])
        service.process()


def same(backed, url):
    engine = open_engine(url)
    try:
        found, wanted = everything(engine), everything(backed.engine)
        assert found.keys() == wanted.keys()
        for name, rows in wanted.items():
            assert found[name] == rows, name
    finally:
        engine.dispose()


def test_a_chain_ends_in_the_same_store(backed, elsewhere, settings):
    full = backed.write()
    for number in (1, 2, 3):
        change(settings, number)
        link = backed.job().incremental()
        assert link.parent == (full.id if number == 1 else backed.catalog.ids()[-2])
    assert len(backed.catalog.chain(link.id)) == 4
    assert all(one.whole for one in check(backed.catalog, None))
    restored = backed.restore(elsewhere)
    assert restored.rows["documents"] == 2
    same(backed, elsewhere)
    assert backed.drill().rows == sum(restored.rows.values())


def test_only_what_changed_is_in_an_increment(backed, settings):
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(500, subject="many"))
        ids = service.ingest(drafts(5, subject="few")).ids
        service.process()
    backed.write()
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(2, subject="few"))
        service.erase("record", ids[0])
    link = backed.job().incremental()
    counts = {table.name: (table.rows, table.removed) for table in link.tables}
    assert counts["records"] == (6, 1)  # two are new, four sealed by another key
    assert counts["data_keys"][1] == 1
    assert "documents" not in counts
    restored = backed.drill()
    assert restored.rows == sum(
        len(rows) for name, rows in everything(backed.engine).items() if name != "record_tags"
    )


def test_nothing_new_makes_a_link_without_rows(backed, elsewhere, settings):
    full = backed.write()
    links = [backed.job().incremental() for _ in range(2)]
    assert len({full.id, *(link.id for link in links)}) == 3
    assert [(link.tables, link.objects) for link in links] == [((), ())] * 2
    with AnalysisService.open(settings) as service:
        service.put_document("story", "s1", {"title": "again"})
    last = backed.job().incremental()
    assert not {"key_shards", "erasures"} & {table.name for table in last.tables}
    assert last.hashes["key_shards"] == full.hashes["key_shards"]
    assert all(one.whole for one in check(backed.catalog, None))
    backed.restore(elsewhere)
    same(backed, elsewhere)
    with AnalysisService.open(settings) as service:
        service.erase("subject", "anna")
    assert {"key_shards", "erasures"} <= {t.name for t in backed.job().incremental().tables}
    backed.drill()


def test_an_increment_asks_little(backed, settings):
    backed.write()
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(2))
    asked = []

    @event.listens_for(Engine, "before_cursor_execute")
    def note(_connection, _cursor, statement, *_):
        asked.append(statement)

    try:
        backed.job().incremental()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    # Each is a wait for a server that is perhaps not near.
    assert not is_postgres(backed.engine) or len(asked) <= 19, asked


def test_the_lock_of_a_backup_takes_no_session_from_the_pool(backed):
    """The ones in it know the tables already."""
    with read_transaction(backed.engine):
        pass
    opened = []
    event.listen(backed.engine, "connect", lambda *_: opened.append(1))
    with alone(backed.engine, "backing-up", shared=True), read_transaction(backed.engine):
        assert not opened


def test_every_kind_of_change_is_noted(backed, settings):
    backed.write()
    before = everything(backed.engine)
    change(settings, 1)
    after = everything(backed.engine)
    touched = {name for name in TRACKED if before[name] != after[name]}
    assert touched >= set(TRACKED) - {"vault", "access_log", "tier_files", "lifecycle_reports"}
    names = {one.name for one in backed.job().incremental().tables}
    assert touched <= names


def test_a_full_one_is_needed_first_and_after_a_restore(backed, elsewhere, settings):
    with pytest.raises(Conflict, match="full"):
        backed.job().incremental()
    backed.write()
    backed.restore(elsewhere)
    there = settings.model_copy(update={"database_url": type(settings.database_url)(elsewhere)})
    restored = type(backed)(there, backed.folder)
    try:
        assert restored.job().base() is None
        assert restored.job().of_kind("daily").parent is None
    finally:
        restored.engine.dispose()


def test_a_missing_trigger_makes_the_next_one_full(backed):
    backed.write()
    assert backed.job().of_kind("daily").parent is not None
    on = " ON documents" if "postgres" in str(backed.engine.url) else ""
    with write_transaction(backed.engine) as connection:
        connection.execute(text(f"DROP TRIGGER analect_note_documents_insert{on}"))
    assert backed.job().of_kind("daily").parent is None
    assert backed.job().of_kind("daily").parent is not None


def test_what_no_place_needs_is_not_kept(backed, settings):
    backed.write()
    change(settings, 1)
    backed.job().incremental()
    address = backed.catalog.place.address
    with backed.engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM row_changes")).scalar()
    if backed.engine.dialect.name == "sqlite":
        assert left == 0
    Changes(backed.engine).forget(address)
    assert Changes(backed.engine).standing() is None
    change(settings, 2)


def test_a_link_that_is_not_what_it_was_is_named(backed, elsewhere, settings):
    links = [backed.write().id]
    for number in (1, 2):
        change(settings, number)
        links.append(backed.job().incremental().id)
    folder = backed.folder / backed.catalog.store
    (folder / links[1]).rename(backed.folder / "gone")
    found = {one.id: one for one in check(backed.catalog, None)}
    assert found[links[0]].whole
    assert not found[links[2]].whole
    with pytest.raises(Corrupt, match=links[1]):
        backed.restore(elsewhere)
    (backed.folder / "gone").rename(folder / links[1])
    path = folder / links[1] / "changes"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = {one.id: one for one in check(backed.catalog, None)}
    assert (found[links[1]].damaged, found[links[2]].damaged) == (links[1], links[1])
    assert "changes" in found[links[2]].problem
    shutil.copy(folder / links[2] / "changes", path)
    with pytest.raises(Corrupt, match="changes"):
        backed.restore(elsewhere)


def test_another_chains_manifest_does_not_take_a_links_place(backed, elsewhere, settings):
    first = backed.write().id
    second = backed.job().incremental().id
    folder = backed.folder / backed.catalog.store
    kept = (folder / first / "manifest").read_bytes()
    manifest = backed.catalog.manifest(first)
    (folder / first / "manifest").unlink()
    backed.catalog.write(first, "manifest", manifest)
    assert (folder / first / "manifest").read_bytes() == kept  # signing is deterministic
    (folder / first / "manifest").write_bytes((folder / second / "manifest").read_bytes())
    with pytest.raises(Corrupt, match="manifest"):
        backed.restore(elsewhere, second)


def test_pruning_keeps_what_a_kept_link_needs(backed, settings):
    full = backed.write().id
    backed.drill()
    first = backed.job().incremental().id
    second = backed.job().incremental().id
    newer = backed.write().id
    assert to_remove(backed.catalog, Keeping(1, 0, 0, 0, 0)) == [second, first]
    for one in to_remove(backed.catalog, Keeping(1, 0, 0, 0, 0)):
        remove(backed.catalog, one)
    assert backed.catalog.ids() == [full, newer]
    assert all(one.whole for one in check(backed.catalog, None))
    backed.drill(newer)
    assert to_remove(backed.catalog, Keeping(1, 0, 0, 0, 0)) == [full]


def broken(path):
    data = path.read_bytes()
    path.write_bytes(data[:-9] + b"x" + data[-8:])


def test_a_chain_that_lost_a_link_takes_no_whole_backups_place(backed, settings):
    whole = backed.write().id
    lost = backed.job().incremental().id
    last = backed.job().incremental().id
    backed.drill(last)
    (backed.folder / backed.catalog.path(lost, "manifest")).unlink()
    assert {one.id: one.state for one in backed.catalog.listed()} == {
        whole: "COMPLETED",
        last: "BROKEN",
    }
    keeping = Keeping(1, 0, 0, 0, 0)
    for dry_run in (True, False):
        with pytest.raises(Corrupt, match=f"{last} is broken.*{lost}.*--broken"):
            prune(backed.engine, backed.catalog, keeping, clock=clock, dry_run=dry_run)
    done = prune(backed.engine, backed.catalog, keeping, clock=clock, broken=True)
    assert (done.removed, done.leftovers) == ([last], [lost])
    assert [one.whole for one in check(backed.catalog, None)] == [True]
    broken(backed.folder / backed.catalog.path(whole, "manifest"))
    with pytest.raises(Corrupt, match="no backup in this place can be restored"):
        prune(backed.engine, backed.catalog, keeping, clock=clock, broken=True)


@pytest.mark.usefixtures("commands_without_logs")
def test_a_broken_backup_does_not_keep_older_moments_from_coming_back(backed, settings, tmp_path):
    run, dest = Commands(settings), str(tmp_path / "dest")
    first = run("backup", "create", dest, "--i-have-the-recovery-key")[1]["id"]
    last = run("backup", "create", dest)[1]["id"]
    broken(tmp_path / "dest" / backed.catalog.path(last, "manifest"))
    code, said = run("restore", dest, "--dry-run")
    assert (code, last in said, "--id" in said) == (4, True, True)
    code, said = run("restore", dest, "--dry-run", "--to", "0s")
    assert (code, said["backup"]) == (0, first)
    code, said = run("backup", "prune", dest)
    assert (code, "--broken" in said) == (4, True)
    assert run("backup", "prune", dest, "--broken")[1]["removed"] == [last]
    assert run("backup", "prune", dest)[0] == 0


def test_the_last_backup_is_the_newest_wherever_the_clock_has_gone(backed):
    ahead = replace(backed.job(), clock=lambda: clock() + 400 * DAY)
    first = ahead.full().id
    last = backed.write().id
    assert backed.catalog.newest() == last
    assert backed.catalog.at(clock()) == last
    assert to_remove(backed.catalog, Keeping(1, 0, 0, 0, 0)) == [first]
    assert backed.job().incremental().parent == last


def test_what_is_lost_is_not_taken_for_what_is_left(backed):
    left = backed.write().id
    full = backed.write().id
    backed.job().incremental()
    for one in (left, full):
        (backed.folder / backed.catalog.path(one, "manifest")).unlink()
    assert backed.catalog.unfinished() == [left, full]
    assert leftovers(backed.catalog) == [left]
    remove(backed.catalog, left)
    assert [one.damaged for one in check(backed.catalog, None)] != [None]
    assert backed.catalog.unfinished() == [full]


def test_a_month_that_was_dropped_whole_is_gone_in_the_next_link(backed, settings, elsewhere):
    if "postgres" not in settings.database_url.get_secret_value():
        pytest.skip("only Postgres drops months whole")
    old = to_micros(datetime(2024, 1, 15, tzinfo=UTC))
    with AnalysisService.open(settings) as service:
        ids = service.ingest(drafts(6, subject="old", occurred_at=old)).ids
    backed.write()
    expected = IdSum().plus(ids)
    assert not drop_month(backed.engine, "2024-01", expected.plus(ids[:1]), lambda _: None)
    assert drop_month(backed.engine, "2024-01", expected, lambda _: None)
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(2, subject="late", occurred_at=old))
    link = backed.job().incremental()
    (told,) = [one for one in link.tables if one.name == "records"]
    assert (told.months, told.rows, told.removed) == (("2024-01",), 2, 0)
    backed.restore(elsewhere)
    same(backed, elsewhere)
