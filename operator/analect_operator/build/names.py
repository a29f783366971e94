"""What the parts of a store are called, whatever the store is called."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

# CronJobs may have 52 characters, for the Jobs they make have eleven more.
_LONGEST = 52
_DIGEST = 8
_LABEL = 63
_SHARED = 40
_LETTER = re.compile(r"[a-z]")


@lru_cache(maxsize=512)  # a look at a store asks for the same thirty names twice and more
def child(store: str, part: str) -> str:
    """Name of a part: ``STORE-PART``, and where that is too long or no name for a Service (a dot,
    a digit at the front), a shortened one with a digest of the whole.
    """
    plain = store.replace(".", "-")
    if _LETTER.match(plain) is None:
        plain = f"s{plain}"
    name = f"{plain}-{part}"
    if plain == store and len(name) <= _LONGEST:
        return name
    room = _LONGEST - len(part) - _DIGEST - 2
    return f"{plain[:room].rstrip('-')}-{_digest(store)}-{part}"


def label(store: str) -> str:
    """The store's name as the value of a label."""
    if len(store) <= _LABEL:
        return store
    return f"{store[: _LABEL - _DIGEST - 1].rstrip('-.')}-{_digest(store)}"


def shared(namespace: str, store: str) -> str:
    """The store among all that share a queue or an engine: small letters, digits and dashes."""
    whole = f"{namespace}-{store}".replace(".", "-")
    if len(whole) <= _SHARED and "." not in store:
        return whole
    return f"{whole[: _SHARED - _DIGEST - 1].rstrip('-')}-{_digest(f'{namespace}/{store}')}"


def digest(*parts: str) -> str:
    """Eight hex digits for a name that must change when ``parts`` do."""
    return _digest("\0".join(parts))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
