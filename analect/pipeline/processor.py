"""What a processor is.

A processor is one class and one entry point in the group ``analect.processors``; the entry
point's name is the processor's name. It is made once per process with a
:class:`ProcessorContext`, called from one thread at a time (from as many as it says in ``lanes``),
and must be idempotent: a batch may come again after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from analect.index.catalog import Indexes
from analect.index.protocols import ItemFailure
from analect.model.ids import Clock, Micros, RecordId
from analect.model.query import Annotation
from analect.model.record import Record
from analect.settings import Settings


@dataclass(frozen=True, slots=True)
class ProcessorContext:
    """What a processor may use: the settings, the indexes and the time."""

    settings: Settings
    indexes: Indexes
    clock: Clock


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch. Annotations are kept by the caller; those of the same record,
    processor and name are replaced, so processing again never doubles.
    """

    failures: Sequence[ItemFailure] = ()
    annotations: Sequence[Annotation] = ()


def needs_of(processor: Processor) -> tuple[str, ...]:
    """The processors that must have done with a record before this one."""
    return tuple(getattr(processor, "needs", ()))


def lanes_of(processor: Processor) -> int:
    """How many threads may call a processor at a time: one, unless it says ``lanes``."""
    return int(getattr(processor, "lanes", 1))


def put_back(processor: Processor, records: Sequence[Record], now: Micros) -> Outcome:
    """Have records processed that stand although they were forgotten just before. A processor whose
    index remembers deletions has ``restore`` for it, which is told the time as well.
    """
    restore = getattr(processor, "restore", None)
    return processor.process(records) if restore is None else restore(records, now)


@runtime_checkable
class Processor(Protocol):
    """Derives something from records."""

    name: str
    version: int

    def process(self, records: Sequence[Record]) -> Outcome:
        """Handle opened, pseudonymised records. Raise a transient error to try all of them later;
        report what is wrong with single records as failures.
        """
        ...

    def forget(self, ids: Sequence[RecordId]) -> None:
        """These records are gone: drop what was derived from them."""
        ...
