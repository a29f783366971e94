"""What a run would do: counted, by rule, tier, kind and month. A run does these lines and no more.

A record moves one tier a run: what is overdue for two moves on the day after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from analect.lifecycle.retention.rules import Rules, Standing
from analect.lifecycle.tiers.tables import TierTables
from analect.model.ids import Micros, RecordId, id_millis
from analect.store.choosing import HELD, Chosen, Ownership, chosen, nth_newest
from analect.store.engine import read_transaction
from analect.store.tier_files import TierFile


@dataclass(frozen=True, slots=True)
class Line:
    """Records of one rule, kind and month that go from one tier to the next. ``bytes`` counts
    payloads in the hot tier, and a file's share in the others; ``owner`` is the rule's number,
    ``before`` the id below which records move.
    """

    policy: str
    rule: str
    tier: str
    to: str
    kind: str
    month: str
    records: int
    bytes: int
    oldest: Micros
    newest: Micros
    owner: int
    before: RecordId


@dataclass(frozen=True, slots=True)
class Plan:
    """``held`` counts what is due but for a legal hold."""

    at: Micros
    lines: tuple[Line, ...]
    held: int

    @property
    def records(self) -> int:
        """How many records would move."""
        return sum(line.records for line in self.lines)


class Planner:
    """Plans; changes nothing."""

    def __init__(self, engine: Engine, tables: TierTables) -> None:
        self._engine = engine
        self._tables = tables

    def plan(self, rules: Rules) -> Plan:
        """What a run by these rules would do now.

        Raises:
            StoreUnavailable: the database or the place of the files does not answer.
        """
        hot, held = self._hot(rules)
        lines = list(hot)
        for tier in ("warm", "cold"):
            for line in self._filed(rules, tier):
                if line.owner == HELD:
                    held += line.records
                else:
                    lines.append(line)
        return Plan(rules.now, tuple(lines), held)

    def _hot(self, rules: Rules) -> tuple[list[Line], int]:
        with read_transaction(self._engine) as connection:
            ownership = Ownership(connection, rules.choices, rules.held)
            before = []
            for number, standing in enumerate(rules.rules):
                edge = standing.before("hot")
                if edge is not None and standing.rule.keep_last is not None:
                    kept = nth_newest(connection, ownership, number, standing.rule.keep_last)
                    edge = None if kept is None else min(edge, kept)
                before.append(edge)
            found = chosen(connection, ownership, before)
        held = sum(one.records for one in found if one.owner == HELD)
        lines = [
            _line(rules.rules[one.owner], "hot", one, before[one.owner] or one.newest)
            for one in found
            if one.owner >= 0
        ]
        return lines, held

    def _filed(self, rules: Rules, tier: str) -> Iterator[Line]:
        """The same of the files of a tier, month by month."""
        found: dict[tuple[str, str, int], Line] = {}
        for file in self._tables.standing(tier):
            if any(
                (edge := standing.before(tier)) is not None and file.first_id < edge
                for standing in rules.rules
            ):
                for line in self._of_file(rules, file):
                    key = (line.month, line.kind, line.owner)
                    found[key] = _joined(found[key], line) if key in found else line
        yield from (found[key] for key in sorted(found))

    def _of_file(self, rules: Rules, file: TierFile) -> Iterable[Line]:
        for owner, ids in self._tables.due(file, rules).items():
            share = file.bytes * len(ids) // max(file.rows, 1)
            found = Chosen(owner, file.kind, file.month, len(ids), share, ids[0], ids[-1])
            standing = rules.rules[max(owner, 0)]
            yield _line(standing, file.tier, found, standing.before(file.tier) or ids[-1])


def _line(standing: Standing, tier: str, found: Chosen, before: RecordId) -> Line:
    return Line(
        policy=standing.policy.name,
        rule=standing.rule.name,
        tier=tier,
        to=standing.moves[tier][0] if tier in standing.moves else tier,
        kind=found.kind,
        month=found.month,
        records=found.records,
        bytes=found.bytes,
        oldest=id_millis(found.oldest) * 1000,
        newest=id_millis(found.newest) * 1000,
        owner=found.owner,
        before=before,
    )


def _joined(one: Line, other: Line) -> Line:
    return replace(
        one,
        records=one.records + other.records,
        bytes=one.bytes + other.bytes,
        oldest=min(one.oldest, other.oldest),
        newest=max(one.newest, other.newest),
    )
