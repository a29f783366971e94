"""One record on its way in from a file."""

from __future__ import annotations

from dataclasses import dataclass

from analect.model.errors import InvalidInput
from analect.model.record import Draft

MAX_LINE_BYTES = 64 * 1024 * 1024
"""No record of a file may be longer: a file without line ends must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Line:
    """What stands at ``number`` (from 1) of a file, or of the table ``place`` of one: a draft, or
    why it is none.
    """

    number: int
    draft: Draft | None
    error: InvalidInput | None = None
    place: str | None = None
