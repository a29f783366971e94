"""Tokens: what stands in a record where personal data stood.

``<email:6f1c0a2b3c4d5e6f>`` is the kind and the first 8 bytes, in hex, of HMAC-SHA256 over
``kind NUL value`` with the store's pseudonym key. Equal values give equal tokens inside one
store; without the key a token says nothing, and cannot be tested against a guess.
"""

from __future__ import annotations

import hmac
import re
from functools import lru_cache

_FORM = re.compile(r"<[a-z][a-z0-9-]{0,31}:[0-9a-f]{16}>\Z")
_REMEMBERED = 8192
"""Tokens kept: the same sessions and people come again and again."""
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")


def is_token(value: str) -> bool:
    """Whether ``value`` is a token and nothing else."""
    return _FORM.match(value) is not None


def is_kind(name: str) -> bool:
    """Whether ``name`` can be the kind of a token: lower-case letters, digits and hyphens."""
    return _KIND.match(name) is not None


class Tokens:
    """Makes tokens with one store's pseudonym key. Thread-safe."""

    __slots__ = ("_keyed", "_remembered")

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")
        self._remembered = lru_cache(_REMEMBERED)(self._make)

    def token(self, kind: str, value: str) -> str:
        """The token of a value that was normalised already."""
        return self._remembered(kind, value)

    def _make(self, kind: str, value: str) -> str:
        # A copy of the keyed state: `hmac.digest` begins anew and lets go of the interpreter's
        # lock, which took more time than all the hashing.
        mac = self._keyed.copy()
        mac.update(f"{kind}\0{value}".encode())
        return f"<{kind}:{mac.digest()[:8].hex()}>"
