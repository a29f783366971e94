"""What a server answers: everything, only writes, or only questions, so that each can grow alone."""

from __future__ import annotations

from enum import StrEnum

_STATUS = "/v1/status"
_QUESTIONS_BY_POST = frozenset({"/v1/search"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Role(StrEnum):
    """Calls about the server itself are answered in every role."""

    ALL = "all"
    INGEST = "ingest"
    QUERY = "query"

    def serves(self, method: str, path: str) -> bool:
        """Whether this request is for a server of this role."""
        if self is Role.ALL or not path.startswith("/v1/") or path == _STATUS:
            return True
        question = method in _READING or path in _QUESTIONS_BY_POST
        return question is (self is Role.QUERY)
