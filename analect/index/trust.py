"""Whose certificates a connection to an engine trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

from analect.model.errors import ConfigurationError


def authority(path: Path, setting: str) -> ssl.SSLContext:
    """Trusts whom the file at ``path`` names, which ``setting`` says, and nobody else.

    Raises:
        ConfigurationError: it cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=str(path))
    except OSError as error:  # what is wrong with a certificate is one, too
        variable = f"ANALECT_{setting.upper().replace('.', '__')}"
        raise ConfigurationError(
            f"{setting} ({variable}) cannot be read: it must name a file of certificates (PEM)",
            field=setting,
        ) from error


def untrusted(error: BaseException) -> bool:
    """Whether a certificate that is not trusted is at the bottom of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
