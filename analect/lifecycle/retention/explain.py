"""Why a record is in its tier, and when it moves next."""

from __future__ import annotations

from dataclasses import dataclass

from analect.lifecycle.retention.ages import leaves_at
from analect.lifecycle.retention.rules import Rules
from analect.lifecycle.tiers.columns import SCHEMA
from analect.lifecycle.tiers.conditions import owners
from analect.model.ids import Micros
from analect.model.record import Record
from analect.store.choosing import HELD


@dataclass(frozen=True, slots=True)
class Explanation:
    """``moves_at`` is the first moment at which a run would take the record to ``next``; both are
    ``None`` when it stays.
    """

    id: str
    tier: str
    policy: str | None
    rule: str | None
    held_by: tuple[str, ...]
    next: str | None
    moves_at: Micros | None
    why: str


def explain(record: Record, rules: Rules) -> Explanation:
    """What the rules say of one record, which is in ``record.tier``."""
    import pyarrow as pa

    row = {name: getattr(record, name, None) for name in SCHEMA.names}
    row |= {"tags": list(record.tags), "dimensions": [], "measures": [], "payload": None}
    table = pa.Table.from_pylist([row], schema=SCHEMA)
    owner = int(owners(table, rules.choices, rules.held)[0])
    if owner == HELD:
        holds = tuple(
            hold.name for hold in rules.holds if owners(table, [], [hold.selector])[0] == HELD
        )
        why = f"held by {', '.join(holds)}: it stays in its tier while a hold stands"
        return _staying(record, why, held_by=holds)
    if owner < 0:
        return _staying(record, "no rule selects it: it stays")
    standing = rules.rules[owner]
    move = standing.moves.get(record.tier)
    said = f"rule {standing.rule.name} of policy {standing.policy.name} is the first to select it"
    if move is None:
        return _staying(
            record, f"{said}, and keeps it here", standing.policy.name, standing.rule.name
        )
    days = _days(standing.rule.stages, record.tier)
    at = leaves_at(record.occurred_at, days, standing.policy.time_zone)
    last = standing.rule.keep_last
    but = f", unless it is among the {last} newest of the rule" if last else ""
    when = "is due" if at <= rules.now else "is not due yet"
    return Explanation(
        id=record.id,
        tier=record.tier,
        policy=standing.policy.name,
        rule=standing.rule.name,
        held_by=(),
        next=move[0],
        moves_at=at,
        why=f"{said}; it moves to {move[0]} when it is older than {days} days{but}, and {when}",
    )


def _days(stages: tuple[tuple[str, int | None], ...], tier: str) -> int:
    """The age at which a tier is left; a tier without one of its own has that of the tier before."""
    known = dict(stages)
    return known.get(tier) or known["hot"] or 0


def _staying(
    record: Record,
    why: str,
    policy: str | None = None,
    rule: str | None = None,
    *,
    held_by: tuple[str, ...] = (),
) -> Explanation:
    return Explanation(record.id, record.tier, policy, rule, held_by, None, None, why)
