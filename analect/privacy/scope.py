"""Whose key seals what: one data key per subject, else session, else thread, else a slice of a month."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import Protocol

from analect.model.ids import month_of

SCOPE_BYTES = 16
SLICES = 64
"""Keys a month for records that belong to nobody, so that erasing one of them re-seals few."""


class Belonging(Protocol):
    """What decides the scope: a settled draft has it, and a record."""

    @property
    def id(self) -> str | None:
        """The record's id."""
        ...

    @property
    def subject(self) -> str | None:
        """A pseudonym."""
        ...

    @property
    def session_id(self) -> str | None:
        """A pseudonym."""
        ...

    @property
    def thread_id(self) -> str | None:
        """As it is stored."""
        ...


@lru_cache(8192)
def scope(type_: str, value: str, pseudonym_key: bytes) -> bytes:
    """16 bytes that stand for ``value`` of a type (subject, session, thread, month, document)."""
    message = b"\0".join((b"scope", type_.encode(), value.encode()))
    return hmac.digest(pseudonym_key, message, hashlib.sha256)[:SCOPE_BYTES]


def scope_of(record: Belonging, pseudonym_key: bytes) -> bytes:
    """The scope of a record, or of a settled, pseudonymised draft."""
    if record.subject is not None:
        return subject_scope(record.subject, pseudonym_key)
    if record.session_id is not None:
        return scope("session", record.session_id, pseudonym_key)
    if record.thread_id is not None:
        return scope("thread", record.thread_id, pseudonym_key)
    record_id = record.id or ""
    # The tail of an id is random, so the slices are even.
    piece = int(record_id[-2:], 16) % SLICES
    return scope("month", f"{month_of(record_id)}/{piece}", pseudonym_key)


def subject_scope(subject: str, pseudonym_key: bytes) -> bytes:
    """The scope of a person, by pseudonym: records and documents alike."""
    return scope("subject", subject, pseudonym_key)


def document_scope(kind: str, document_id: str, owner: str | None, pseudonym_key: bytes) -> bytes:
    """The scope of a document: its owner's, or its own when nobody owns it."""
    if owner is not None:
        return subject_scope(owner, pseudonym_key)
    return scope("document", f"{kind}/{document_id}", pseudonym_key)
