"""Why a record is in its tier, and when it moves next."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from analect.lifecycle.retention.ages import leaves_at
from analect.lifecycle.retention.rules import Rules
from analect.lifecycle.tiers.columns import SCHEMA
from analect.lifecycle.tiers.conditions import owners
from analect.model.ids import Micros
from analect.model.record import Record
from analect.store.choosing import HELD, Ownership, nth_newest
from analect.store.engine import read_transaction


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


def explain(record: Record, rules: Rules, engine: Engine) -> Explanation:
    """What the rules say of one record, which is in ``record.tier``.

    Raises:
        StoreUnavailable: the database does not answer.
    """
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
    names = (standing.policy.name, standing.rule.name)
    if move is None:
        return _staying(record, f"{said}, and keeps it here", *names)
    if standing.policy.dry_run:
        return _staying(record, f"{said}, but the policy is a dry run, which moves nothing", *names)
    last = standing.rule.keep_last
    if last is not None and record.tier == "hot" and _is_kept(record, rules, owner, last, engine):
        return _staying(
            record, f"{said}, and it is among the {last} newest of the rule, which stay hot", *names
        )
    days = _days(standing.rule.stages, record.tier)
    at = leaves_at(record.occurred_at, days, standing.policy.time_zone)
    when = "is due" if at <= rules.now else "is not due yet"
    return Explanation(
        id=record.id,
        tier=record.tier,
        policy=names[0],
        rule=names[1],
        held_by=(),
        next=move[0],
        moves_at=at,
        why=f"{said}; it moves to {move[0]} when it is older than {days} days, and {when}",
    )


def _is_kept(record: Record, rules: Rules, owner: int, last: int, engine: Engine) -> bool:
    """Whether a hot record is among the newest of its rule."""
    with read_transaction(engine) as connection:
        ownership = Ownership(connection, rules.choices, rules.held)
        oldest = nth_newest(connection, ownership, owner, last)
    return oldest is None or record.id >= oldest


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
