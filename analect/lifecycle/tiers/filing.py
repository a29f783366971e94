"""What is in files moves on: warm to cold, either to gone. A month and kind at a time.

The files that hold something due are written again without it; what goes cold joins the one cold
file of its month. All of it is published in one transaction, which looks at the legal holds too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from analect.lifecycle.tiers.cold import COLD
from analect.lifecycle.tiers.moving import Filed, Mover, merge_tables, together
from analect.lifecycle.tiers.part import WARM, row_groups
from analect.lifecycle.tiers.summing import Figures, Key, count
from analect.lifecycle.tiers.tables import Moving, TierTables, due_of
from analect.model.ids import RecordId
from analect.store.tier_files import TierFile, TierFiles


class Deciding(Moving, Protocol):
    """Rules that also say where a tier's records go."""

    def target(self, owner: int, tier: str) -> str:
        """The tier after this one, or ``gone``."""
        ...


@dataclass(slots=True)
class Filing:
    """What became of a month: counts, the ids that are gone by the number of the rule that says so,
    and those that were indexed until they became cold.
    """

    cooled: int = 0
    gone: dict[int, list[RecordId]] = field(default_factory=dict)
    unindexed: list[RecordId] = field(default_factory=list)
    left: dict[Key, Figures] = field(default_factory=dict)
    """Figures of what leaves the warm tier."""
    bytes_freed: int = 0


class Filer:
    """Callers hold the lock of the one retention run."""

    def __init__(self, mover: Mover, files: TierFiles, tables: TierTables) -> None:
        self._mover = mover
        self._files = files
        self._tables = tables

    def advance(
        self,
        tier: str,
        of: tuple[str, str],
        rules: Deciding,
        within: Callable[[Connection, Filing], bool],
    ) -> Filing:
        """Move what is due of one kind and month (``of``). ``within`` is called with what goes, in
        the transaction that publishes; false gives everything up.

        Raises:
            Conflict: files or holds changed meanwhile; nothing was changed.
            Corrupt: a file does not read back as it was written; nothing was changed.
        """
        done = Filing()
        retired: list[TierFile] = []
        filed: list[Filed] = []
        cooling: list[Any] = []
        for file in self._files.standing(tier, kind=of[0], month=of[1]):
            gone: dict[int, list[RecordId]] = {}
            parts = self._parts(file, rules, gone)
            if set(parts) == {tier}:
                continue
            retired.append(file)
            done.bytes_freed += file.bytes
            for owner, ids in gone.items():
                done.gone.setdefault(owner, []).extend(ids)
            if tier == WARM:
                cooling += parts.get(COLD, [])
                if file.indexed:
                    done.unindexed += _ids(parts.get(COLD, []))
                count(done.left, together([*parts.get(COLD, []), *parts.get("gone", [])]))
            if tier in parts:
                groups = row_groups(together(parts[tier]))
                filed.append(self._mover.write(groups, tier, of, indexed=file.indexed))
        if not retired:
            return done
        if cooling:
            present = self._files.standing(COLD, kind=of[0], month=of[1])
            retired += present
            done.cooled = sum(len(table) for table in cooling)
            sources = [(file, self._tables.tables(file)) for file in present]
            joined = in_order([*(together(tables) for _, tables in sources), *cooling])
            filed.append(self._mover.write(joined, COLD, of, indexed=False))
        self._mover.publish(filed, retired, lambda connection: within(connection, done))
        self._mover.delete_retired()
        done.bytes_freed -= sum(one.file.bytes for one in filed)
        return done

    def _parts(
        self, file: TierFile, rules: Deciding, gone: dict[int, list[RecordId]]
    ) -> dict[str, list[Any]]:
        """A file's rows by the tier they belong into now; ``gone`` gets the ids of those that
        belong into none.
        """
        parts: dict[str, list[Any]] = {}
        for table in self._tables.tables(file):
            targets = np.full(len(table), file.tier, object)
            ids = table.column("id")
            for place, owner in due_of(table, file.tier, rules):
                if owner >= 0:
                    targets[place] = rules.target(owner, file.tier)
                    if targets[place] == "gone":
                        gone.setdefault(owner, []).append(RecordId(ids[place].as_py()))
            for target in sorted(set(targets)):
                parts.setdefault(target, []).append(table.filter(pa.array(targets == target)))
        return parts


def in_order(tables: Iterable[Any]) -> Iterator[Any]:
    """Row groups of tables in the order of ids, each id once."""
    ordered = sorted((one for one in tables if len(one)), key=_first)
    apart = all(_last(a) < _first(b) for a, b in pairwise(ordered))
    for table in ordered if apart else [merge_tables(ordered)]:
        yield from row_groups(table)


def _first(table: Any) -> str:
    return str(table.column("id")[0].as_py())


def _last(table: Any) -> str:
    return str(table.column("id")[-1].as_py())


def _ids(tables: Sequence[Any]) -> list[RecordId]:
    return [one for table in tables for one in table.column("id").to_pylist()]
