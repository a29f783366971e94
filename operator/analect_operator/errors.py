"""What can go wrong between the operator and the API server."""

from __future__ import annotations

LEAVING = "NamespaceTerminating"


class OperatorError(Exception):
    """Everything the operator raises itself."""


class ConfigurationError(OperatorError):
    """The operator cannot run with what it was given."""


class ApiError(OperatorError):
    """The API server refused, or could not be reached (``code`` 0).

    ``reason`` is the server's own word (``Conflict``, ``Forbidden``, ...), ``retry_after`` the
    seconds it asked to wait.
    """

    def __init__(
        self, code: int, reason: str, message: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after

    @property
    def leaving(self) -> bool:
        """Whether the namespace is on its way out: it takes nothing new, and never will again."""
        return self.reason == LEAVING

    @property
    def missing(self) -> bool:
        """Whether there is no such object, or no such kind."""
        return self.code == 404
