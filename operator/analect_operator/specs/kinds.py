"""The five kinds, as the API server knows them."""

from __future__ import annotations

from dataclasses import dataclass

from analect_operator.specs.base import GROUP, VERSION, Spec
from analect_operator.specs.retention import RetentionSpec
from analect_operator.specs.status import RetentionStatus, StoreStatus, WorkStatus
from analect_operator.specs.store import StoreSpec
from analect_operator.specs.work import BackupSpec, ErasureSpec, RestoreSpec


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class CustomKind:
    """A kind of custom resource and the models of its two parts."""

    kind: str
    plural: str
    short: str
    about: str
    spec: type[Spec]
    status: type[Spec]
    columns: tuple[Column, ...] = ()
    scale: bool = False

    @property
    def api_version(self) -> str:
        """Group and version."""
        return f"{GROUP}/{VERSION}"


def _condition(name: str, type_: str, part: str = "status", priority: int = 0) -> Column:
    path = f".status.conditions[?(@.type=='{type_}')].{part}"
    return Column(name, path, priority=priority)


_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_STORE = Column("Store", ".spec.storeRef.name")
_WORK = (
    _STORE,
    Column("Phase", ".status.phase"),
    _condition("Message", "Complete", "message", 1),
    _AGE,
)

STORE = CustomKind(
    "AnalysisStore",
    "analysisstores",
    "as",
    "A store of interactions and conclusions, with its pods, its jobs and what they stand on.",
    StoreSpec,
    StoreStatus,
    (
        Column("Mode", ".spec.mode"),
        _condition("Ready", "Ready"),
        _condition("Reason", "Ready", "reason"),
        Column("Version", ".status.version", priority=1),
        _condition("Message", "Ready", "message", 1),
        _AGE,
    ),
    scale=True,
)
RETENTION = CustomKind(
    "RetentionPolicy",
    "retentionpolicies",
    "rp",
    "How long the records of a store are kept where.",
    RetentionSpec,
    RetentionStatus,
    (
        _STORE,
        _condition("Accepted", "Accepted"),
        Column("Last run", ".status.lastRun.time", "date"),
        Column("Outcome", ".status.lastRun.outcome"),
        _condition("Message", "Accepted", "message", 1),
        _AGE,
    ),
)
BACKUP = CustomKind(
    "Backup", "backups", "asbackup", "A backup of a store, now.", BackupSpec, WorkStatus, _WORK
)
RESTORE = CustomKind(
    "Restore",
    "restores",
    "asrestore",
    "A restore into a store that is empty or stopped.",
    RestoreSpec,
    WorkStatus,
    _WORK,
)
ERASURE = CustomKind(
    "Erasure",
    "erasures",
    "aserase",
    "The erasure of a person, a session or a thread from a store.",
    ErasureSpec,
    WorkStatus,
    _WORK,
)
KINDS = (STORE, RETENTION, BACKUP, RESTORE, ERASURE)
