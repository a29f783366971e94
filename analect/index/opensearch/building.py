"""A fresh generation beside the one that answers, filled by one process at a time.

Who fills it shows every few seconds that it lives. When it was killed, or the engine failed under
it, what it put in stays, writes go on reaching it, and the next rebuild goes on from there.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog

from analect.index.opensearch.control import State
from analect.index.opensearch.family import Family
from analect.model.errors import AnalectError, ConfigurationError, Conflict, TransientError
from analect.model.ids import RecordId
from analect.telemetry.beating import beating

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 10.0
"""A builder that showed no life for so long is gone."""
_LOOK_SECONDS = 0.25
_NOTE_SECONDS = 1.0
"""How often the place that was reached is written down."""


class Build:
    """One process's hold on a generation."""

    def __init__(
        self, family: Family, generation: int, token: str, reached: RecordId | None
    ) -> None:
        self.generation = generation
        self._family = family
        self._token = token
        self._reached = reached
        self._noted = time.monotonic()

    def reached(self) -> RecordId | None:
        """Everything up to here is in."""
        return self._reached

    def reach(self, record_id: RecordId) -> None:
        """Everything up to here is in now.

        Raises:
            Conflict: another process has taken the build over.
        """
        self._reached = record_id
        if time.monotonic() - self._noted >= _NOTE_SECONDS:
            self.show()

    def show(self) -> None:
        """That this process lives, and how far it is."""
        self._noted = time.monotonic()
        self._family.control.change(
            lambda state: replace(self._mine(state), beat=state.beat + 1, reached=self._reached)
        )

    def finish(self) -> None:
        """This generation answers from now on."""
        engine, pattern = self._family.engine, self._family.pattern(self.generation)
        engine.request("POST", f"/{pattern}/_refresh")
        self._family.control.change(
            lambda state: State(self._mine(state).building or 0, drops=state.drops)
        )
        self._family.align()

    def give_up(self, *, keep: bool) -> None:
        """Leave it to the next one, or drop it."""

        def left(state: State) -> State:
            mine = self._mine(state)
            return replace(mine, builder="") if keep else State(mine.current, drops=mine.drops)

        with suppress(AnalectError):  # it counts as abandoned after a while
            self._family.control.change(left)
            self._family.align()

    def _mine(self, state: State) -> State:
        if (state.building, state.builder) != (self.generation, self._token):
            raise _taken(self._family)
        return state


@contextmanager
def building(
    family: Family,
    *,
    patience: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Build]:
    """A generation to fill. Leaving without an error switches to it; an error drops it, unless a
    retry may help: then the next one goes on.

    Raises:
        Conflict: another process is building.
    """
    build = _begin(family, patience, pause)
    try:
        with beating(build.show, patience / 5, f"{family.kind}-rebuild"):
            yield build
        build.finish()
    except BaseException as error:
        build.give_up(keep=isinstance(error, TransientError))
        raise


def _begin(family: Family, patience: float, pause: Callable[[float], None]) -> Build:
    seen = family.state()
    if seen.building is not None and not _abandoned(family, seen, patience, pause):
        raise _taken(family)
    generation, reached = family.new_generation(), None
    if seen.building is not None:
        try:
            family.fit(seen.building)
        except ConfigurationError:
            # It was begun for another model or other words, and answers nobody yet: what is
            # wanted now is what the settings say, so it is left and a fresh one begun.
            log.info("rebuild begins anew", index=family.kind, left=seen.building)
        else:
            generation, reached = seen.building, seen.reached
            log.info("rebuild goes on", index=family.kind, reached=reached)
    token = uuid.uuid4().hex

    def take(state: State) -> State:
        if state != seen:
            raise _taken(family)
        return replace(
            state, building=generation, builder=token, beat=state.beat + 1, reached=reached
        )

    family.control.change(take)
    family.fit(generation)
    return Build(family, generation, token, reached)


def _abandoned(
    family: Family, seen: State, patience: float, pause: Callable[[float], None]
) -> bool:
    waited = 0.0
    while seen.builder and waited < patience:
        pause(_LOOK_SECONDS)
        waited += _LOOK_SECONDS
        if family.control.read() != seen:
            return False
    return True


def _taken(family: Family) -> Conflict:
    return Conflict(f"the {family.kind} index is being rebuilt by another process already")
