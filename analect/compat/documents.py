"""Things with an id, kept as documents: sealed, versioned, and given back as they were saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import uuid4

from analect.compat.integration import get_analysis_service
from analect.compat.plain import mapping, moment, plain, text
from analect.model.errors import Conflict, InvalidInput, KeyDestroyed, NotFound
from analect.model.ids import Micros
from analect.model.query import MAX_LIMIT, Document, PageRequest
from analect.model.record import MAX_SHORT, Json

Body = dict[str, Json]
_MAX_RACES = 10


def body_of(kind: str, document_id: Any) -> Body | None:
    """What was saved last under this id, or ``None``."""
    document = _document(kind, document_id)
    return None if document is None else document.body


@dataclass(frozen=True, slots=True)
class Prepared:
    """A thing on its way into the store."""

    kind: str
    id: str
    body: Body
    owner: str | None = None
    status: str | None = None
    expires_at: Micros | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """Things of one ``kind``. ``id_names`` are the fields that may hold the id, ``owner_names``
    whose it is (who is erased takes theirs along). Thread-safe.
    """

    kind: str
    id_names: tuple[str, ...]
    owner_names: tuple[str, ...]
    default_status: str | None = None

    def save(self, thing: Any, data: Any = None, **fields: Any) -> str:
        """Save a dict, row, model, dataclass or object, or an id and its fields; returns the id.
        What has no id is given one. Saved again, it is a new version in place of the old one.

        Raises:
            InvalidInput: it has no fields, or one of them is wrong.
            TransientError: the store could not take it; try again.
        """
        prepared = self.prepare(thing, data, fields)
        self._put(prepared, None)
        return prepared.id

    def save_batch(self, things: Any) -> list[str]:
        """Save each of them; all are looked at before the first is saved. Returns their ids.

        Raises:
            InvalidInput: one is wrong; nothing was saved.
            TransientError: the store stopped taking them; saving all again does no harm.
        """
        prepared = [self.prepare(thing, None, {}) for thing in things]
        for one in prepared:
            self._put(one, None)
        return [one.id for one in prepared]

    def get(self, thing_id: Any) -> Body | None:
        """As it was saved last, or ``None``."""
        return body_of(self.kind, thing_id)

    def delete(self, thing_id: Any) -> bool:
        """Forget it and its versions; false when there is no such thing."""
        named = text(thing_id)
        if named is None:
            return False
        try:
            get_analysis_service().delete_document(self.kind, named)
        except NotFound:
            return False
        return True

    def list(
        self, owner: Any = None, status: str | None = None, limit: int | None = None
    ) -> list[Body]:
        """Those of an owner and status, newest first; all of them, unless limited."""
        walk = self._walk(owner, status, limit)
        return [document.body for document in islice(walk, limit)]

    def update_status(self, thing_id: Any, status: str) -> bool:
        """Change its ``status`` and nothing else; false when there is no such thing."""
        return self.change(thing_id, lambda body: {**body, "status": plain(status)})

    def change(self, thing_id: Any, change: Callable[[Body], Body]) -> bool:
        """Replace it by ``change(it)``; nobody's change in between is lost.

        Raises:
            Conflict: others keep changing it.
        """
        for race in range(_MAX_RACES):
            document = _document(self.kind, thing_id)
            if document is None:
                return False
            try:
                self._put(self._of(str(thing_id), change(document.body)), document.version)
            except Conflict:
                if race == _MAX_RACES - 1:
                    raise
                continue
            break
        return True

    def prepare(self, thing: Any, data: Any, fields: dict[str, Any]) -> Prepared:
        """What is saved: its id and body, whose it is, its status and its end.

        Raises:
            InvalidInput: it has no fields.
        """
        given = mapping(thing)
        if given is None and (named := text(thing)) is not None:
            given = {self.id_names[0]: named, **(mapping(data) or {})}
        elif data is not None:
            given = {**(given or {}), **(mapping(data) or {})}
        body = plain({**(given or {}), **fields})
        if not body:
            raise InvalidInput(f"a {self.kind} is a dict or an object with fields", field="body")
        named = _first(body, self.id_names)
        if named is None:
            named = body[self.id_names[0]] = str(uuid4())
        return self._of(named, body)

    def _of(self, named: str, body: Body) -> Prepared:
        owner = _first(body, self.owner_names)
        return Prepared(self.kind, named, body, owner, self._status(body), _expiry(body))

    def _put(self, prepared: Prepared, expected_version: int | None) -> None:
        get_analysis_service().put_document(
            prepared.kind,
            prepared.id,
            prepared.body,
            owner=prepared.owner,
            status=prepared.status,
            expires_at=prepared.expires_at,
            expected_version=expected_version,
        )

    def _status(self, body: Body) -> str | None:
        said = text(body.get("status"))
        if said is None and body.get("is_active") is False:
            said = "inactive"
        return (said or self.default_status or "")[:MAX_SHORT] or None

    def _walk(self, owner: Any, status: str | None, limit: int | None) -> Iterator[Document]:
        service = get_analysis_service()
        page = PageRequest(limit=max(1, min(limit or MAX_LIMIT, MAX_LIMIT)))
        while True:
            found = service.list_documents(
                self.kind, owner=text(owner), status=text(status), page=page
            )
            yield from found.items
            if found.next is None:
                return
            page = PageRequest(page.limit, found.next)


def _document(kind: str, document_id: Any) -> Document | None:
    named = text(document_id)
    if named is None:
        return None
    try:
        return get_analysis_service().get_document(kind, named)  # type: ignore[no-any-return]
    except (NotFound, KeyDestroyed):
        return None


def _first(body: Body, names: tuple[str, ...]) -> str | None:
    values = (body.get(name) for name in names)
    return next((text(v) for v in values if v not in (None, "") and not _nested(v)), None)


def _nested(value: Json) -> bool:
    return isinstance(value, (dict, list))


def _expiry(body: Body) -> Micros | None:
    return moment(body.get("expires_at"), field="expires_at")
