"""Documents: sealed as they came, versioned, owned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from analect.model.errors import InvalidInput, KeyDestroyed, NotFound, StoreUnavailable
from analect.model.ids import Clock, Micros
from analect.model.query import Document, Page, PageRequest
from analect.model.record import MAX_EXTERNAL_ID, MAX_SHORT, Json
from analect.privacy.keys import DataKey, DataKeys
from analect.privacy.scope import document_scope
from analect.privacy.seal import Sealer, document_binding
from analect.store.append import KeyRace
from analect.store.documents import Documents, StoredDocument

_MAX_RACES = 5
MAX_BODY = 16 * 1024 * 1024


class Papers:
    """Puts and gets documents. Owners are stored as pseudonyms, ids and statuses pseudonymised,
    bodies sealed whole.
    """

    def __init__(
        self,
        *,
        documents: Documents,
        keys: DataKeys,
        sealer: Sealer,
        identifier: Callable[[str, str], str],
        text: Callable[[str], str],
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._keys = keys
        self._sealer = sealer
        self._identifier = identifier
        self._text = text
        self._clock = clock

    def put(
        self,
        kind: str,
        document_id: str,
        body: Json,
        *,
        owner: str | None,
        status: str | None,
        expires_at: Micros | None,
        expected_version: int | None,
    ) -> Document:
        """Save a new version.

        Raises:
            InvalidInput: kind, id, status or body is wrong; ``field`` names it.
            Conflict: the document is at another version than ``expected_version``.
        """
        _check_names(kind, document_id, status)
        plain = _encode(body)
        stored_id = self._text(document_id)
        stored_status = self._text(status) if status else status
        owner_token = self._identifier("subject", owner) if owner else None
        for _ in range(_MAX_RACES):
            key = self._key(kind, stored_id, owner_token)
            try:
                saved = self._documents.put(
                    kind,
                    stored_id,
                    self._sealer.seal_bytes(key, document_binding(kind, stored_id), plain),
                    key_id=key.key_id,
                    new_keys=self._keys.pending_rows([key.key_id]),
                    owner=owner_token,
                    status=stored_status,
                    expires_at=expires_at,
                    expected_version=expected_version,
                    now=self._clock(),
                )
            except KeyRace as race:
                # Another process made the key first, or it was erased meanwhile: seal again.
                self._keys.discard(race.key_ids)
                continue
            self._keys.committed([key.key_id])
            return self._document(saved, document_id, body)
        raise StoreUnavailable("the data key of this document keeps changing; try again")

    def get(self, kind: str, document_id: str, version: int | None) -> Document:
        """The latest version, or the one asked for.

        Raises:
            NotFound: there is none.
        """
        stored = self._documents.get(kind, self._text(document_id), version)
        if stored is None:
            raise NotFound("there is no such document", field="id")
        return self._opened([stored], document_id)[0]

    def list(
        self, kind: str, *, owner: str | None, status: str | None, page: PageRequest
    ) -> Page[Document]:
        """Documents of a kind, by owner and status."""
        owner_token = self._identifier("subject", owner) if owner else None
        stored_status = self._text(status) if status else status
        found = self._documents.list(kind, owner=owner_token, status=stored_status, page=page)
        return Page(tuple(self._opened(found.items)), found.next)

    def owned_by(self, owner: str) -> Iterator[Document]:
        """Every document of an owner (a pseudonym), in bounded memory."""
        for stored in self._documents.owned_by(owner):
            yield from self._opened([stored])

    def delete(self, kind: str, document_id: str, expected_version: int | None) -> None:
        """Forget the document and every version of it.

        Raises:
            NotFound: there is none.
            Conflict: it is at another version than ``expected_version``.
        """
        self._documents.delete(kind, self._text(document_id), expected_version=expected_version)

    def _key(self, kind: str, stored_id: str, owner: str | None) -> DataKey:
        scope = document_scope(kind, stored_id, owner, self._keys.pseudonym_key)
        return self._keys.for_scopes([scope])[scope]

    def _opened(
        self, stored: Sequence[StoredDocument], document_id: str | None = None
    ) -> Sequence[Document]:
        keys = self._keys.by_ids(list({one.key_id for one in stored}))
        documents = []
        for one in stored:
            if one.key_id not in keys:
                raise KeyDestroyed("this document's owner was erased; nothing of it is left")
            plain = self._sealer.open_bytes(
                keys[one.key_id], document_binding(one.kind, one.id), one.body
            )
            documents.append(
                self._document(one, document_id or one.id, msgspec.msgpack.decode(plain))
            )
        return documents

    @staticmethod
    def _document(stored: StoredDocument, document_id: str, body: Json) -> Document:
        return Document(
            kind=stored.kind,
            id=document_id,
            version=stored.version,
            body=body,
            owner=stored.owner,
            status=stored.status,
            created_at=stored.created_at,
            updated_at=stored.updated_at,
            expires_at=stored.expires_at,
        )


def _check_names(kind: str, document_id: str, status: str | None) -> None:
    if not kind or len(kind) > 64 or not kind.replace("_", "").isalnum() or not kind.islower():
        raise InvalidInput("kind must be a lower-case name of at most 64 characters", field="kind")
    if not document_id or len(document_id) > MAX_EXTERNAL_ID:
        raise InvalidInput(f"id must have 1 to {MAX_EXTERNAL_ID} characters", field="id")
    if status is not None and len(status) > MAX_SHORT:
        raise InvalidInput(f"status must have at most {MAX_SHORT} characters", field="status")


def _encode(body: Json) -> bytes:
    try:
        plain = msgspec.msgpack.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(
            "body must be JSON: text, numbers of at most 64 bits, lists and objects with text keys",
            field="body",
        ) from error
    if len(plain) > MAX_BODY:
        raise InvalidInput(f"body is over {MAX_BODY} bytes", field="body")
    return plain
