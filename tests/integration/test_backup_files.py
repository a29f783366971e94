"""Warm and cold files go with backups, as copies or by reference, and come back with them."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from analect.lifecycle.backup.check import check
from analect.lifecycle.backup.copies import FileCopies
from analect.lifecycle.backup.deciding import Selection
from analect.lifecycle.backup.filed import FiledRecords
from analect.lifecycle.backup.files import FilesIn, nowhere, same_place, sweep
from analect.lifecycle.backup.keys import BackupKeys
from analect.lifecycle.backup.manifest import Catalog
from analect.lifecycle.backup.pruning import remove
from analect.lifecycle.backup.shipper import Shipper
from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.places.opening import open_place
from analect.lifecycle.retention.loading import parse_policy
from analect.model.errors import Conflict, Corrupt, StoreUnavailable
from analect.model.query import Annotation, PageRequest, RecordFilter
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.store.backup_references import BackupReferences
from analect.store.tier_files import TierFiles
from tests.integration.commands import Commands
from tests.integration.test_backup_killed import dying, points
from tests.integration.test_backup_restore import flipped

DAY = 86_400_000_000
POLICIES = [
    parse_policy(
        {
            "rules": [
                {"name": "events", "selector": {"kinds": ["event"]}, "hotDays": 90},
                {"name": "all", "hotDays": 90, "warmDays": 200},
            ]
        }
    )
]


def old(days, person, count=3, **more):
    at = time.time_ns() // 1000 - days * DAY
    return [
        Draft(
            occurred_at=at + n * 1000,
            subject=person,
            thread_id=f"thread of {person}",
            input=f"{person} asks, {days} days ago",
            **more,
        )
        for n in range(count)
    ]


def age(settings, *drafts, runs=2):
    """Store drafts and let records age."""
    with AnalysisService.open(settings) as service:
        for some in drafts:
            service.ingest(some)
        for _ in range(runs):
            service.retention.run(POLICIES, lambda _done, _total: None)


BOTH = pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def store_url(request):
    """Files are the same whichever database knows of them: some tests look at both."""
    return request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url")


@pytest.fixture
def filed(backed, settings):
    """A warm and a cold file beside the hot records, of two people each."""
    age(settings, *(old(days, person) for days in (300, 120) for person in ("anna", "boris")))
    return backed


def readable(settings):
    """Every record of every tier that opens, by id."""
    with AnalysisService.open(settings) as service:
        until = time.time_ns() // 1000
        found = [
            *service.list(RecordFilter(), PageRequest(100)).items,
            *service.list(RecordFilter(tier="cold", since=0, until=until), PageRequest(100)).items,
        ]
    assert {one.payload_state for one in found} == {"open"}
    return {one.id: (one.tier, one.input) for one in found}


def again(settings, tmp_path):
    """Settings of a new home."""
    home = tmp_path / "again"
    url = type(settings.database_url)(f"sqlite:///{home}/analect.db")
    return settings.model_copy(update={"home": home, "database_url": url})


def restored(filed, settings, tmp_path, link=None, **options):
    """Restore into a new home with a place of the tiers of its own; its settings."""
    there = again(settings, tmp_path)
    tiers = FolderPlace(there.home / "tiers")
    files = FilesIn(
        tiers, lambda at: open_place(at, settings.objects), skip=options.pop("skip", False)
    )
    url = there.database_url.get_secret_value()
    done = filed.restore(url, link, files=files, **options)
    return there, done


def copies(filed):
    root = filed.folder / filed.catalog.store / "files"
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def files_of(place):
    return {path.name for path in place.rglob("*") if path.is_file()}


@BOTH
def test_copied_files_come_back_when_their_place_is_lost(filed, settings, tmp_path):
    wanted = readable(settings)
    assert {tier for tier, _ in wanted.values()} == {"hot", "warm", "cold"}
    full = filed.write()
    assert [one.place for one in full.files] == [None, None]
    kept = files_of(settings.home / "tiers")
    shutil.rmtree(settings.home / "tiers")
    there, done = restored(filed, settings, tmp_path)
    assert done.files == 2
    assert files_of(there.home / "tiers") == kept
    assert readable(there) == wanted
    assert all(one.whole for one in check(filed.catalog, None))


def test_what_is_copied_is_copied_once_and_encrypted(filed, settings):
    filed.write()
    before = copies(filed)
    assert len(before) == 2
    with AnalysisService.open(settings) as service:
        pseudonym = service.list(RecordFilter(tier="warm"), PageRequest(1)).items[0].subject
    assert all(pseudonym.encode() not in path.read_bytes() for path in before)
    filed.write()
    link = filed.job().incremental()
    assert copies(filed) == before
    assert len(link.files) == 2
    age(settings, old(150, "carla", kind="event"))
    assert len(filed.job().incremental().files) == 3
    assert before.items() < copies(filed).items()


def test_an_increment_tells_only_of_files_that_changed(filed, settings, tmp_path):
    filed.write()
    age(settings, old(150, "carla", kind="event"))
    told = {one.name: one for one in filed.job().incremental().tables}
    for name in ("tier_files", "lifecycle_reports"):
        assert not told[name].whole
    assert told["tier_files"].rows == 1
    there, done = restored(filed, settings, tmp_path)
    assert done.files == 3
    assert readable(there) == readable(settings)


class Filling(FolderPlace):
    """A folder on a disk with room for so many bytes."""

    def __init__(self, folder, room):
        super().__init__(folder)
        self.room = room

    @contextmanager
    def create(self, name):
        with super().create(name) as stream:
            yield Filled(stream, self)


class Filled:
    def __init__(self, stream, disk):
        self._stream = stream
        self._disk = disk

    def write(self, data):
        self._disk.room -= len(data)
        if self._disk.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._stream.write(data)


def test_no_half_copy_is_called_good_when_the_disk_is_full(filed, settings, tmp_path):
    good = filed.catalog
    filed.write()
    first, second = (path.stat().st_size for path in sorted(copies(filed)))
    # What is random in a copy makes some bytes more or less of it.
    rooms = {0: 0, 100: 0, first - 50: 0, first + 50: 1, first + second - 50: 1}
    for number, (room, whole) in enumerate(rooms.items()):
        filed.folder = tmp_path / f"full {number}"
        disk = Filling(filed.folder, room)
        filed.catalog = Catalog(disk, good.store, good.keys)
        with pytest.raises(StoreUnavailable) as caught:
            filed.write()
        assert caught.value.disk_full
        assert list(filed.catalog.listed()) == []
        # What is there is whole, and nothing is left aside.
        assert len(copies(filed)) == whole
        assert [p for p in filed.folder.rglob("*") if p.is_file()] == list(copies(filed))
        disk.room = 10**9
        filed.write()
        assert all(one.whole for one in check(filed.catalog, None))
    there, _ = restored(filed, settings, tmp_path)
    assert readable(there) == readable(settings)


def test_no_half_file_is_brought_back_when_the_disk_is_full(filed, settings, tmp_path):
    filed.write()
    there = again(settings, tmp_path)
    url = there.database_url.get_secret_value()
    tiers = Filling(there.home / "tiers", 2_000)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as caught:
            filed.restore(url, files=FilesIn(tiers, nowhere))
        assert caught.value.disk_full
        assert files_of(there.home / "tiers") <= files_of(settings.home / "tiers")
    tiers.room = 10**9
    filed.restore(url, files=FilesIn(tiers, nowhere))
    assert readable(there) == readable(settings)


def test_only_files_that_are_missing_are_brought(filed, settings, tmp_path):
    filed.write()
    there = again(settings, tmp_path)
    tiers = there.home / "tiers"
    shutil.copytree(settings.home / "tiers", tiers)
    (damaged, missing) = sorted(
        path for path in tiers.rglob("*") if ".manifest" not in path.name and path.is_file()
    )
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + b"x")
    missing.unlink()
    restored(filed, settings, tmp_path)
    assert damaged.read_bytes() == whole
    assert readable(there) == readable(settings)


def test_a_place_with_files_of_another_store_is_refused(filed, settings, tmp_path):
    filed.write()
    there = again(settings, tmp_path)
    other = there.home / "tiers" / "warm" / "kind=x" / "month=2020-01" / "part-1.parquet"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"theirs")
    with pytest.raises(Conflict, match=r"tiers\.place"):
        restored(filed, settings, tmp_path)
    assert other.read_bytes() == b"theirs"


def test_a_drill_reads_every_file_and_opens_some_of_each_tier(filed, tmp_path):
    filed.write()
    done = filed.drill()
    assert (done.files, done.opened, done.found) == (2, 12 + 12, True)
    path = min(copies(filed))
    filed.write()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match=path.name):
        filed.drill()
    assert [one.state for one in filed.catalog.listed()] == ["VERIFIED", "COMPLETED"]


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda data: data[:-20],
        lambda data: data[:3],
        lambda _: b"",
        lambda data: b"\xff" * 8 + data[8:],
    ],
)
def test_a_damaged_copy_is_named_and_refused(filed, settings, tmp_path, damage):
    filed.write()
    path = min(copies(filed))
    path.write_bytes(damage(path.read_bytes()))
    (one,) = check(filed.catalog, None)
    assert not one.whole
    assert path.name in one.problem
    with pytest.raises(Corrupt, match=path.name):
        restored(filed, settings, tmp_path)


def test_copies_in_each_others_place_are_refused(filed, settings, tmp_path):
    filed.write()
    one, other = sorted(copies(filed))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(Corrupt, match=one.name):
        restored(filed, settings, tmp_path)
    one.unlink()
    assert "is not there" in check(filed.catalog, None)[0].problem


def test_a_reference_is_looked_at_and_followed(filed, settings, tmp_path):
    full = filed.job(files="reference").full()
    tiers = settings.home / "tiers"
    assert {one.place for one in full.files} == {str(tiers)}
    assert copies(filed) == {}

    def problem():
        return check(filed.catalog, None, open_place=lambda at: open_place(at, settings.objects))[
            0
        ].problem

    assert problem() is None
    there, _ = restored(filed, settings, tmp_path)
    assert readable(there) == readable(settings)
    path = next(tiers.rglob("*.parquet"))
    path.rename(tmp_path / "gone")
    assert path.name in problem()
    shutil.rmtree(there.home)
    with pytest.raises(Corrupt, match="--skip-missing-files"):
        restored(filed, settings, tmp_path)
    there, done = restored(filed, settings, tmp_path, skip=True)
    assert (done.files, done.dropped["tier_files"]) == (1, 1)
    assert {tier for tier, _ in readable(there).values()} == {"hot", "cold"}


@BOTH
def test_a_file_stays_while_a_kept_backup_refers_to_it(filed, settings, tmp_path):
    tiers = settings.home / "tiers"
    first = filed.job(files="reference").full()
    before = files_of(tiers)
    age(settings, old(121, "carla"), runs=1)  # joins the small warm file: a new one takes its place
    report = newest_report(settings)
    assert report["files_kept"] == 1
    assert before < files_of(tiers)
    there, _ = restored(filed, settings, tmp_path, first.id)
    assert len(readable(there)) == 12 + 12
    remove(filed.catalog, first.id)
    BackupReferences(filed.engine).keep(filed.catalog.place.address, [])
    age(settings, runs=1)
    assert newest_report(settings)["files_kept"] == 0
    assert len(files_of(tiers)) == len(before)


def newest_report(settings):
    with AnalysisService.open(settings) as service:
        return service.retention.reports("retention")[0]


@BOTH
def test_an_erasure_says_which_backups_lose_a_file_they_refer_to(filed, settings, tmp_path):
    by_reference = filed.job(files="reference").full()
    filed.job(files="copy").full()
    with AnalysisService.open(settings) as service:
        receipt = service.erase("subject", "anna")
        assert receipt.state == "final"
        assert receipt.breaks == (by_reference.id,)
        assert service.erasures()[0].breaks == (by_reference.id,)
    left = len(TierFiles(filed.engine).names())
    assert left == 2
    with pytest.raises(Corrupt):
        restored(filed, settings, tmp_path, by_reference.id)


def test_who_was_erased_since_is_not_in_files_that_come_back(filed, settings, tmp_path):
    with AnalysisService.open(settings) as service:
        pseudonym = service._parts.pseudonymiser.identifier("subject", "anna")
    full = filed.write()
    with AnalysisService.open(settings) as service:
        service.erase("subject", "anna")
    there, done = restored(filed, settings, tmp_path, full.id)
    assert done.erased == 1
    with AnalysisService.open(there) as service:
        service._parts.eraser.settle()
        assert {one.state for one in service.erasures()} == {"final"}
    found = readable(there)
    assert {text.split()[0] for _, text in found.values()} == {"boris", "question"}
    assert len(found) == 7 + 6
    for path in (there.home / "tiers").rglob("*.parquet"):
        assert pseudonym.encode() not in path.read_bytes()


def test_a_lost_file_does_not_keep_the_rest_from_being_backed_up(filed, settings, tmp_path):
    path = next((settings.home / "tiers").rglob("*.parquet"))
    path.unlink()
    full = filed.write()
    assert [one.lost for one in full.files] == [False, True]
    (listed,) = filed.catalog.listed()
    assert (listed.files, listed.files_lost) == (2, 1)
    assert path.name in check(filed.catalog, None)[0].problem
    with pytest.raises(Corrupt, match=path.name):
        restored(filed, settings, tmp_path)


def test_a_kind_is_restored_with_its_files(filed, settings, tmp_path):
    age(settings, old(130, "carla", kind="event"))
    filed.write()
    there, done = restored(
        filed, settings, tmp_path, selection=Selection(kinds=frozenset({"event"}))
    )
    assert (done.files, done.dropped["tier_files"]) == (1, 2)
    assert {text for _, text in readable(there).values()} == {"carla asks, 130 days ago"}


def of_everyone(settings):
    """Every record of every tier, as if it were hot."""
    with AnalysisService.open(settings) as service:
        until = time.time_ns() // 1000
        found = [
            *service.list(RecordFilter(), PageRequest(100)).items,
            *service.list(RecordFilter(tier="cold", since=0, until=until), PageRequest(100)).items,
        ]
    return {one.id: replace(one, tier="hot") for one in found}


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        ({"subjects": {"anna"}}, (5 + 6 + 1, 7, 5 + 1)),
        ({"subjects": {"anna"}, "kinds": {"event"}}, (1, 1, 1)),
        ({"threads": {"thread of boris"}}, (6 + 1, 7, 1)),
        ({"subjects": {"anna"}, "threads": {"thread of boris"}}, (0, 0, 0)),
    ],
)
def test_what_is_chosen_comes_out_of_files(filed, settings, elsewhere, asked, counts):
    (hot, out, annotated), tmp_path = counts, filed.folder.parent
    whole = {"tags": ("a",), "dimensions": {"language": "en"}, "measures": {"length": 2}}
    event = old(130, "anna", 1, kind="event", success=True, rating=4, cost=0.5, turn=3, **whole)
    with AnalysisService.open(settings) as service:
        made = service._parts.pseudonymiser
        service.ingest([*event, *old(130, "boris", 1, kind="event")])
        still = service.list(RecordFilter(tier="hot"), PageRequest(100)).items
        concluded = [Annotation(one.id, "test", 1, "language", value="en") for one in still]
        assert service._parts.conclusions.keep(concluded) == 12 + 2
    age(settings)
    wanted = of_everyone(settings)
    subject = made.identifier("subject", "anna")
    others = [one.id for one in wanted.values() if one.subject != subject]
    filed.write()
    scopes = {
        "subjects": lambda one: made.identifier("subject", one),
        "threads": lambda one: made.promoted("thread_id", one),
        "kinds": str,
    }
    selection = Selection(**{name: frozenset(map(scopes[name], v)) for name, v in asked.items()})
    done = filed.restore(elsewhere, selection=selection, filed=FiledRecords(scratch=tmp_path))
    assert (done.files, done.unfiled, done.dropped["tier_files"]) == (0, out, 3)
    there = settings.model_copy(
        update={
            "home": tmp_path / "chosen",
            "database_url": type(settings.database_url)(elsewhere),
        }
    )
    found = of_everyone(there)
    assert len(found) == hot
    assert found.items() <= wanted.items()
    if "subjects" in asked:
        assert not found.keys() & others
    # Of what was concluded of records that are warm now, what is about those that came.
    assert done.rows["annotations"] == annotated
    assert list(tmp_path.glob("analect-file-*")) == []


def test_copies_that_no_backup_needs_are_swept(filed, settings):
    first = filed.write().id
    with AnalysisService.open(settings) as service:
        service.erase("subject", "boris")
    filed.write()
    assert len(copies(filed)) == 4
    assert sweep(filed.catalog) == []
    remove(filed.catalog, first)
    assert len(sweep(filed.catalog)) == 2
    assert all(one.whole for one in check(filed.catalog, None))


def test_the_log_has_the_files_of_every_moment(filed, settings, tmp_path):
    full = filed.write()
    shipper = Shipper(filed.job())
    age(settings, old(150, "carla", kind="event"), runs=0)
    assert shipper.ship()
    age(settings)
    assert shipper.ship()
    links = filed.catalog.segments(full.id)
    assert [filed.catalog.manifest(one).files is None for one in links] == [True, False]
    assert filed.catalog.telling(full.id) == links[1:]
    assert len(filed.catalog.files(links[1])) == 3
    assert sweep(filed.catalog) == []
    wanted = readable(settings)
    shutil.rmtree(settings.home / "tiers")
    there, _ = restored(filed, settings, tmp_path, links[1])
    assert readable(there) == wanted
    remove(filed.catalog, full.id)
    assert list((filed.folder / filed.catalog.store).glob("0*")) == []
    assert len(sweep(filed.catalog)) == 3


def test_nothing_is_lost_when_it_is_killed_between_files(filed, settings, tmp_path):
    wanted = readable(settings)
    there = again(settings, tmp_path)
    url = there.database_url.get_secret_value()
    tiers = filed.folder.parent / "tiers again"
    with dying(filed, settings, url) as ask:
        names = points(ask, "full", lambda _: None)
        assert "file copied" in names
        shutil.rmtree(settings.home / "tiers")
        names = []
        while "committed" not in names:
            names.append(ask("restore", len(names)))
            assert names[-1] not in {"", "failed", "done"}
        assert "file brought" in names
    assert sweep(filed.catalog) == []
    moved = there.model_copy(update={"tiers": type(there.tiers)(place=str(tiers))})
    assert readable(moved) == wanted


def test_copies_in_a_bucket_come_back(filed, settings, bucket, objects, tmp_path):
    backup_keys = BackupKeys(filed.keys.pseudonym_key, os.urandom)
    filed.catalog = Catalog(open_place(f"{bucket}/b", objects), filed.catalog.store, backup_keys)
    full = filed.write()
    assert len(FileCopies(filed.catalog).names()) == 2
    wanted = readable(settings)
    shutil.rmtree(settings.home / "tiers")
    there, _ = restored(filed, settings, tmp_path)
    assert readable(there) == wanted
    assert filed.drill().files == 2
    remove(filed.catalog, full.id)
    assert len(sweep(filed.catalog)) == 2


def test_where_places_are_the_same():
    assert same_place("s3://one/tiers", "s3://one/backups")
    assert not same_place("s3://one/tiers", "s3://two/tiers")
    assert not same_place("/srv/tiers", "s3://one/tiers")
    assert same_place("/srv/tiers", "/srv/tiers/backups")
    assert not same_place("/srv/tiers", "/mnt/backups")
    with pytest.raises(Exception, match="not looked at"):
        nowhere("/srv/tiers")


@BOTH
@pytest.mark.usefixtures("commands_without_logs")
def test_the_commands_take_files_along(filed, settings, tmp_path):
    run, dest = Commands(settings), str(tmp_path / "dest")
    code, made = run("backup", "create", dest, "--i-have-the-recovery-key")
    assert (code, made["files"], made["files_lost"]) == (0, 2, 0)
    assert run("backup", "create", dest, "--files", "reference")[0] == 0
    assert run("backup", "check", dest)[0] == 0
    code, pruned = run("backup", "prune", dest, "--keep-last", "1")
    assert (code, pruned["copies_removed"]) == (0, 0)
    wanted = readable(settings)
    shutil.rmtree(settings.home / "tiers")
    assert run("backup", "check", dest)[0] == 4
    assert run("backup", "create", dest)[0] == 0  # the copies are there
    there = again(settings, tmp_path)
    code, done = Commands(there)("restore", dest)
    assert (code, done["files"]) == (0, 2), done
    assert readable(there) == wanted
