"""Every error that Analect raises on purpose.

    AnalectError
    ├── TransientError          a retry may help
    │   ├── StoreUnavailable    the database does not answer, or its disk is full
    │   ├── Overloaded          admission refused; retry after ``retry_after`` seconds
    │   ├── DeadlineExceeded    the request's time ran out
    │   └── EngineUnavailable   an index or embedding engine does not answer
    │       ├── EngineMisconfigured  it answers, and refuses a setting of ours; ``field`` names it
    │       ├── EngineReadOnly       it answers, and takes no writes: its disk may be full
    │       └── EngineBusy           it answers, and takes nothing more just now
    └── TerminalError           a retry will not help
        ├── InvalidInput        a record, document or setting is wrong; ``field`` names the place
        │   └── InvalidQuery    so is a question: a filter, a cursor, a search expression
        ├── Conflict            the same id with other content, or a document of another version
        ├── NotFound
        ├── PermissionDenied
        ├── DetectionFailed     personal data could not be looked for, so nothing was stored
        ├── KeyDestroyed        the payload's key was erased: its content is gone for good
        ├── KeyUnavailable      a key that should exist is not there: KEK, ring or passphrase
        ├── Corrupt             bytes that were stored do not verify
        └── ConfigurationError

``code`` is stable and holds no value of anyone's: it is what outbox entries, job failures and
metrics carry. Messages are for people; they name fields and limits and never quote a payload.
"""

from __future__ import annotations

from typing import ClassVar


class AnalectError(Exception):
    """The root: ``str(error)`` says what happened and what to do about it."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TransientError(AnalectError):
    """Nothing is wrong with the request: trying again later may succeed."""

    code = "transient"

    def __init__(
        self, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, field=field)
        self.retry_after = retry_after


class StoreUnavailable(TransientError):
    """The database cannot be reached or cannot write (``disk_full`` says which)."""

    code = "store_unavailable"

    def __init__(
        self, message: str, *, retry_after: float | None = 1.0, disk_full: bool = False
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.disk_full = disk_full


class Overloaded(TransientError):
    """Too much is in flight already."""

    code = "overloaded"


class DeadlineExceeded(TransientError):
    """The time allowed for this request ran out; what was acked stays acked."""

    code = "deadline_exceeded"


class EngineUnavailable(TransientError):
    """An index or embedding engine does not answer; the truth is unaffected."""

    code = "engine_unavailable"


class EngineMisconfigured(EngineUnavailable):
    """An engine answers and refuses what a setting says: what waits goes on once that is mended."""

    code = "engine_misconfigured"


class EngineReadOnly(EngineUnavailable):
    """An engine takes no writes, for its disk is full or somebody said so: what waits goes on then."""

    code = "engine_read_only"


class EngineBusy(EngineUnavailable):
    """An engine takes nothing more just now."""

    code = "engine_busy"


class TerminalError(AnalectError):
    """Trying the same again will fail the same way."""

    code = "terminal"


class InvalidInput(TerminalError):
    """Something the caller sent is wrong; ``field`` names it."""

    code = "invalid"


class InvalidQuery(InvalidInput):
    """A filter, cursor or search expression is wrong."""

    code = "invalid_query"


class TooLarge(InvalidInput):
    """A body or field is over its limit."""

    code = "too_large"


class Conflict(TerminalError):
    """The id is taken by other content, or the document has moved on to another version."""

    code = "conflict"


class NotFound(TerminalError):
    """There is no such record, document, thread or index."""

    code = "not_found"


class PermissionDenied(TerminalError):
    """The caller is not allowed to do this."""

    code = "permission_denied"


class DetectionFailed(TerminalError):
    """Looking for personal data failed, so the record was refused rather than stored as it came."""

    code = "detection_failed"


class KeyDestroyed(TerminalError):
    """The data key of this payload was erased."""

    code = "key_destroyed"


class KeyUnavailable(TerminalError):
    """A key that should exist cannot be read; the message says which and where it was looked for."""

    code = "key_unavailable"


class Corrupt(TerminalError):
    """Stored bytes fail their checks."""

    code = "corrupt"


class ConfigurationError(TerminalError):
    """A setting is missing or wrong; ``field`` is its name."""

    code = "configuration"
