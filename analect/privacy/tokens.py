"""Tokens: what stands in a record where personal data stood.

``<email:6f1c0a2b3c4d5e6f>`` is the kind and the first 8 bytes, in hex, of HMAC-SHA256 over
``kind NUL value`` with the store's pseudonym key. Equal values give equal tokens inside one
store; without the key a token says nothing, and cannot be tested against a guess.
"""

from __future__ import annotations

import hmac
import re

_FORM = re.compile(r"<[a-z][a-z0-9-]{0,31}:[0-9a-f]{16}>\Z")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")


def is_token(value: str) -> bool:
    """Whether ``value`` is a token and nothing else."""
    return _FORM.match(value) is not None


def is_kind(name: str) -> bool:
    """Whether ``name`` can be the kind of a token: lower-case letters, digits and hyphens."""
    return _KIND.match(name) is not None


class Tokens:
    """Makes tokens with one store's pseudonym key. Thread-safe."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, kind: str, value: str) -> str:
        """The token of a value that was normalised already."""
        message = f"{kind}\0{value}".encode()
        return f"<{kind}:{hmac.digest(self._key, message, 'sha256')[:8].hex()}>"
