"""Policies at one moment: every rule with its condition and its days as points in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from analect.lifecycle.retention.ages import day_start
from analect.lifecycle.retention.policy import Policy, Rule, Selector
from analect.model.ids import Micros, RecordId, id_floor
from analect.store.choosing import Choice
from analect.store.holds import Hold

SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """A rule as it stands now. ``moves`` maps a tier to where its records go next and before which
    time they must have occurred.
    """

    policy: Policy
    rule: Rule
    choice: Choice
    moves: dict[str, tuple[str, Micros]]

    def before(self, tier: str) -> RecordId | None:
        """The id below which records of a tier move on; None when they stay."""
        move = self.moves.get(tier)
        return None if move is None else id_floor(max(move[1], 0))


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules in the order in which they are asked, and all holds."""

    now: Micros
    rules: tuple[Standing, ...]
    holds: tuple[Hold, ...]
    of_policies: tuple[Hold, ...] = ()
    """Those of ``holds`` that the policies say."""

    @property
    def choices(self) -> list[Choice]:
        """Of the rules."""
        return [one.choice for one in self.rules]

    @property
    def held(self) -> list[Choice]:
        """Of the holds."""
        return [hold.selector for hold in self.holds]

    def before(self, tier: str) -> list[RecordId | None]:
        """For each rule the id below which records of a tier move on; None when they stay."""
        return [one.before(tier) for one in self.rules]

    def target(self, owner: int, tier: str) -> str:
        """The tier after this one, or ``gone``."""
        return self.rules[owner].moves[tier][0]


def rules_at(policies: Sequence[Policy], laid: Sequence[Hold], now: Micros) -> Rules:
    """The rules of policies, whose values are in their stored form, with the holds that were laid
    by hand. Policies in the order given, their rules in their own; a suspended one has holds only.
    """
    standing = [
        Standing(policy, rule, choice_of(rule.selector, now), _moves(policy, rule, now))
        for policy in policies
        if not policy.suspend
        for rule in policy.rules
    ]
    holds = [
        Hold(hold.name, choice_of(hold.selector, now))
        for policy in policies
        for hold in policy.legal_holds
    ]
    return Rules(now, tuple(standing), (*holds, *laid), tuple(holds))


def choice_of(selector: Selector, now: Micros) -> Choice:
    """A selector with its ages as times."""
    older, newer = selector.older_than, selector.newer_than
    return Choice(
        kinds=selector.kinds,
        tags=selector.tags,
        services=selector.services,
        statuses=selector.statuses,
        threads=selector.threads,
        sessions=selector.sessions,
        subjects=selector.subjects,
        success=selector.success,
        since=None if newer is None else now - newer * SECOND,
        until=None if older is None else now - older * SECOND,
    )


def _moves(policy: Policy, rule: Rule, now: Micros) -> dict[str, tuple[str, Micros]]:
    moves: dict[str, tuple[str, Micros]] = {}
    for (tier, days), (following, _) in pairwise(rule.stages):
        if days is None:
            continue
        at = day_start(now, days, policy.time_zone)
        if (tier, following) == ("hot", "cold"):
            # What leaves hot is written to a warm file first; the next run makes it cold.
            moves["hot"], moves["warm"] = ("warm", at), ("cold", at)
        else:
            moves[tier] = (following, at)
    return moves
