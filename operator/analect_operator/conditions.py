"""Conditions: answers that keep the time at which they changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Answer = Literal["True", "False", "Unknown"]
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question, with a word for programs and a sentence for people."""

    type: str
    status: Answer
    reason: str
    message: str

    @property
    def true(self) -> bool:
        """Whether the answer is yes."""
        return self.status == "True"


def yes(type_: str, reason: str, message: str = "") -> Verdict:
    """It is so."""
    return Verdict(type_, "True", reason, message)


def no(type_: str, reason: str, message: str) -> Verdict:
    """It is not; ``message`` says what it waits for or what to do."""
    return Verdict(type_, "False", reason, message)


def merged(
    before: Iterable[Mapping[str, Any]], verdicts: Iterable[Verdict], generation: int, now: str
) -> list[dict[str, Any]]:
    """The conditions of a status: a time stays while the answer does."""
    old = {condition["type"]: condition for condition in before}
    found = []
    for verdict in verdicts:
        known = old.get(verdict.type)
        same = known is not None and known["status"] == verdict.status
        found.append(
            {
                "type": verdict.type,
                "status": verdict.status,
                "observedGeneration": generation,
                "lastTransitionTime": known["lastTransitionTime"] if known and same else now,
                "reason": verdict.reason,
                "message": verdict.message[:_LONGEST],
            }
        )
    return found


def changes(
    before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Conditions whose answer or reason is another one than before."""
    old = {condition["type"]: (condition["status"], condition["reason"]) for condition in before}
    return [
        condition
        for condition in after
        if old.get(condition["type"]) != (condition["status"], condition["reason"])
    ]
