"""Which rows of a backup are restored: those whose keys stand, whom nobody erased, that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from analect.lifecycle.backup.erased import Erased
from analect.lifecycle.backup.format import Row
from analect.lifecycle.backup.manifest import TableContent
from analect.lifecycle.backup.rings import KeyPlan
from analect.model.errors import InvalidInput
from analect.privacy.shards import DataKeyRow, Shards
from analect.store.tier_files import kind_of

Keep = Callable[[Row], Row | None]
"""The row as it is to be restored, or None."""

BASIS = ("meta", "key_shards", "data_keys", "erasures")
"""Always restored: without them nothing else can be read."""
OF_OWNERS = ("documents", "document_versions")
OF_RECORDS = {"annotations": "record_id", "content_hashes": "record_id"}


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a backup is asked for; everything when nothing is said. ``subjects`` and ``threads``
    are pseudonyms. Documents belong to the subjects that own them.
    """

    kinds: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    threads: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()

    @property
    def everything(self) -> bool:
        """Nothing is left out."""
        return not (self.kinds or self.subjects or self.threads or self.tables)

    @property
    def of_records(self) -> bool:
        """Some records are left out."""
        return bool(self.kinds) or self.within_files

    @property
    def within_files(self) -> bool:
        """Files of the tiers are left out for what they hold beside what is asked for."""
        return bool(self.subjects or self.threads)

    def takes(self, table: str) -> bool:
        """Whether anything of a table is restored."""
        if table in BASIS:
            return True
        if self.tables and table not in self.tables:
            return False
        # What hangs together with all records makes no sense beside some of them.
        return self.everything or table not in {"outbox", "access_log"}

    def takes_file(self, name: str) -> bool:
        """Whether a file of the tiers is restored. It is of one kind, and of many people and
        threads: where those are chosen, it is left out.
        """
        return not self.within_files and self._may_take_file(name)

    def takes_from_file(self, name: str) -> bool:
        """Whether records are taken out of a file of the tiers that is left out."""
        return self.within_files and self.takes("records") and self._may_take_file(name)

    def _may_take_file(self, name: str) -> bool:
        return self.takes("tier_files") and (not self.kinds or kind_of(name) in self.kinds)

    def check(self, tables: Sequence[str]) -> None:
        """Raises:
        InvalidInput: a table is named that the backup does not have.
        """
        if unknown := sorted(self.tables - set(tables)):
            raise InvalidInput(
                f"the backup has no table {unknown[0]}; it has {', '.join(tables)}", field="table"
            )


@dataclass(slots=True)
class Decider:
    """Decides row by row, link after link. ``without``: files of the tiers that are left out, and
    ``located`` their locators by name; ``lost``: records that were left out; ``doomed``: those of
    them that an erasure asked for by name.
    """

    shards: Shards
    selection: Selection
    erased: Sequence[Erased]
    without: frozenset[str] = frozenset()
    plan: KeyPlan = field(default_factory=lambda: KeyPlan({}, {}))
    lost: set[bytes] = field(default_factory=set)
    doomed: set[bytes] = field(default_factory=set)
    located: dict[str, bytes] = field(default_factory=dict)
    _targets: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for scope in {one.scope for one in self.erased}:
            found = frozenset(one.target for one in self.erased if one.scope == scope)
            self._targets[scope] = found

    def begin(self, generations: Sequence[Row]) -> None:
        """A link with these rows of ``key_shards`` comes next."""
        gone = self.plan.gone
        backed_up = {int(shard): int(generation) for shard, generation in generations}
        self.plan = KeyPlan.of(backed_up, self.shards)
        self.plan.gone |= gone

    def keep(self, table: TableContent) -> Keep | None:
        """How the rows of a table are decided; None when all of them stay as they are."""
        if not self.selection.takes(table.name):
            return lambda _row: None
        places = {name: number for number, name in enumerate(table.columns)}
        if table.name == "key_shards":
            return self._shard
        if table.name == "data_keys":
            return self._key(table)
        if table.name == "records":
            return self._record(places)
        if table.name in OF_OWNERS:
            return self._owned(places)
        if table.name == "vault":
            return lambda row: None if row[places["key_id"]] in self.plan.gone else row
        if table.name in OF_RECORDS:
            return self._of_record(places)
        if table.name == "tier_files" and self.without:
            return self._file(places)
        if table.name == "commits" and self.selection.of_records:
            return self._commit(places)
        return None

    def _shard(self, row: Row) -> Row:
        return (row[0], self.plan.generations[int(row[0])])

    def _key(self, table: TableContent) -> Keep:
        names = table.columns

        def keep(row: Row) -> Row | None:
            given = DataKeyRow(**dict(zip(names, row, strict=True)), generation=0)
            found = self.plan.key(given)
            return None if found is None else tuple(getattr(found, name) for name in names)

        return keep

    def _record(self, places: dict[str, int]) -> Keep | None:
        key, kind, subject = places["key_id"], places["kind"], places["subject"]
        thread, session = places["thread_id"], places["session_id"]
        of = {"subject": subject, "thread": thread, "session": session}
        targets = [(of[scope], every) for scope, every in self._targets.items() if scope in of]
        ids = {bytes.fromhex(one.replace("-", "")) for one in self._targets.get("record", ())}
        wanted = [
            (place, values)
            for place, values in (
                (kind, self.selection.kinds),
                (subject, self.selection.subjects),
                (thread, self.selection.threads),
            )
            if values
        ]
        if not (ids or targets or wanted or self.plan.gone):
            return None

        def keep(row: Row) -> Row | None:
            if row[0] in ids or any(row[place] in every for place, every in targets):
                self.doomed.add(row[0])
            elif row[key] not in self.plan.gone and all(row[p] in v for p, v in wanted):
                return row
            self.lost.add(row[0])
            return None

        return keep

    def _owned(self, places: dict[str, int]) -> Keep:
        owner, key = places["owner"], places["key_id"]
        gone = self._targets.get("subject", frozenset())
        some = self.selection.of_records
        wanted = self.selection.subjects

        def keep(row: Row) -> Row | None:
            if row[key] in self.plan.gone or row[owner] in gone:
                return None
            return None if some and row[owner] not in wanted else row

        return keep

    def _of_record(self, places: dict[str, int]) -> Keep:
        record, key = places["record_id"], places.get("key_id")

        def keep(row: Row) -> Row | None:
            if row[record] in self.lost:
                return None
            return None if key is not None and row[key] in self.plan.gone else row

        return keep

    def _file(self, places: dict[str, int]) -> Keep:
        name, locator = places["name"], places["locator"]

        def keep(row: Row) -> Row | None:
            if row[name] not in self.without:
                return row
            self.located[row[name]] = row[locator]
            return None

        return keep

    def _commit(self, places: dict[str, int]) -> Keep:
        place = places["ids"]

        def keep(row: Row) -> Row | None:
            whole = row[place]
            ids = [whole[start : start + 16] for start in range(0, len(whole), 16)]
            left = b"".join(one for one in ids if one not in self.lost)
            return (*row[:place], left, *row[place + 1 :]) if left else None

        return keep
