"""Work on demand: Backup, Restore, Erasure. One Job each; what they say cannot be changed later."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from analect_operator.specs.backends import KeyRef
from analect_operator.specs.base import Spec, checked, exactly_one
from analect_operator.specs.retention import STORE_REF, StoreRef

_FROZEN = ("self == oldSelf", "this work cannot be changed; make a new one")
_TTL = Field(
    default=604800,
    description="Seconds after which the object of finished work is removed; 0 keeps it.",
)
_Ttl = Annotated[int, Field(ge=0, le=31_536_000)]


class BackupSpec(Spec):
    """A backup now."""

    model_config = checked(_FROZEN)

    store_ref: StoreRef = STORE_REF
    kind: Literal["daily", "weekly", "monthly", "manual"] = Field(
        default="manual", description="Which retention it falls under."
    )
    ttl_seconds_after_finished: _Ttl = _TTL


class RestoreSpec(Spec):
    """A restore into a store that is empty, or in place of one that is `Stopped`."""

    model_config = checked(_FROZEN)

    store_ref: StoreRef = STORE_REF
    backup_id: (
        Annotated[
            str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.:]*$")
        ]
        | None
    ) = Field(default=None, description="The backup; the newest when not given.")
    dry_run: bool = Field(default=False, description="Only check it and count its rows.")
    ttl_seconds_after_finished: _Ttl = _TTL


class ErasureSpec(Spec):
    """The erasure of a person; never named in clear here."""

    model_config = checked(_FROZEN, exactly_one("subjectSecretRef", "sessionId", "threadId"))

    store_ref: StoreRef = STORE_REF
    subject_secret_ref: KeyRef | None = Field(
        default=None,
        description="The Secret that names the subject, one a line; deleted with the final receipt.",
    )
    session_id: (
        Annotated[
            str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.:]*$")
        ]
        | None
    ) = Field(default=None, description="A session, by its pseudonym.")
    thread_id: (
        Annotated[
            str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.:]*$")
        ]
        | None
    ) = Field(default=None, description="A thread.")
    ttl_seconds_after_finished: _Ttl = _TTL
