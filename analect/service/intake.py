"""The way in: validate, pseudonymise, seal, commit.

Personal data is gone from a draft before anything of it can become durable. Whatever fails on
the way leaves that one item out, with the reason; the others go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import msgspec

from analect.model.errors import AnalectError, StoreUnavailable
from analect.model.ids import Clock, RandomBytes, RecordId, is_record_id
from analect.model.record import DRAFT_FIELDS, Draft, IngestResult, Rejection
from analect.model.validate import settle
from analect.privacy.keys import DataKey, DataKeys
from analect.privacy.pseudonymise import Pseudonymiser
from analect.privacy.scope import scope_of
from analect.privacy.seal import Sealer
from analect.privacy.vault import vault_row
from analect.store.append import AppendResult, KeyRace, SealedDraft, VaultRow
from analect.store.store import Store

_IDENTITY = frozenset({"id", "external_id", "occurred_at"})
_content = attrgetter(*(name for name in DRAFT_FIELDS if name not in _IDENTITY))
_canonical = msgspec.msgpack.Encoder(order="deterministic")
_MAX_RACES = 5


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    """``omit_payload`` keeps the facts and drops input, output, variables and attributes;
    ``dedupe`` answers with the earlier record where the same content is stored already.
    """

    omit_payload: bool = False
    dedupe: bool = False


Observe = Callable[[Sequence[Draft], IngestResult], None]
"""Hears of every durable batch, its drafts as they were stored."""


@dataclass(slots=True)
class _Prepared:
    """One batch on its way: ``places[i]`` is the place in the caller's batch of ``drafts[i]``,
    ``found`` holds, for the vault, (token, value) of what was replaced in the draft at a place,
    ``omitted`` the places of those whose payload is not kept.
    """

    drafts: list[Draft]
    places: list[int]
    rejected: list[Rejection]
    found: dict[int, list[tuple[str, str]]]
    omitted: set[int]
    received_at: int
    given: Sequence[Draft]
    races: int = 0


class Intake:
    """Takes drafts, gives back what became of them. Thread-safe."""

    def __init__(
        self,
        *,
        store: Store,
        keys: DataKeys,
        sealer: Sealer,
        pseudonymiser: Pseudonymiser,
        processors: Sequence[str],
        omit_services: frozenset[str],
        keep_payload: bool,
        vault: bool,
        observe: Observe,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._keys = keys
        self._sealer = sealer
        self._pseudonymiser = pseudonymiser
        self._processors = processors
        self._omit_services = omit_services
        self._keep_payload = keep_payload
        self._vault = vault
        self._observe = observe
        self._clock = clock
        self._random_bytes = random_bytes

    def submit(self, drafts: Sequence[Draft], options: IntakeOptions) -> Future[IngestResult]:
        """Prepare in the caller's thread; the future is done once the batch is durable.

        The drafts are changed in place. The future raises a transient error when nothing of
        the batch was stored.
        """
        prepared = self._prepare(drafts, options)
        answer: Future[IngestResult] = Future()
        if prepared.drafts:
            self._commit(prepared, options, answer)
        else:
            result = _result(prepared, None)
            self._observe(drafts, result)
            answer.set_result(result)
        return answer

    def check(self, drafts: Sequence[Draft]) -> tuple[Rejection, ...]:
        """What :meth:`submit` would refuse before it asks the database; nothing is stored."""
        return tuple(self._prepare(drafts, IntakeOptions()).rejected)

    def _prepare(self, drafts: Sequence[Draft], options: IntakeOptions) -> _Prepared:
        now = self._clock()
        key = self._keys.pseudonym_key
        rejected: list[Rejection] = []
        valid: list[Draft] = []
        places: list[int] = []
        omitted: set[int] = set()
        for place, draft in enumerate(drafts):
            try:
                settle(draft, now=now, key=key, random_bytes=self._random_bytes)
            except AnalectError as error:
                rejected.append(_rejection(place, draft, error))
            else:
                if _has_payload(draft) and (options.omit_payload or self._omits(draft)):
                    draft.input = draft.output = draft.variables = draft.attributes = None
                    omitted.add(place)
                valid.append(draft)
                places.append(place)
        found: dict[int, list[tuple[str, str]]] = {}

        def remember(token: str, value: str, index: int) -> None:
            found.setdefault(places[index], []).append((token, value))

        errors = self._pseudonymiser.drafts(valid, remember if self._vault else None)
        if any(errors):
            kept = [i for i, error in enumerate(errors) if error is None]
            rejected.extend(
                _rejection(places[i], valid[i], error)
                for i, error in enumerate(errors)
                if error is not None
            )
            return _Prepared(
                [valid[i] for i in kept],
                [places[i] for i in kept],
                rejected,
                found,
                omitted,
                now,
                drafts,
            )
        return _Prepared(valid, places, rejected, found, omitted, now, drafts)

    def _omits(self, draft: Draft) -> bool:
        return not self._keep_payload or draft.service in self._omit_services

    def _commit(
        self, prepared: _Prepared, options: IntakeOptions, answer: Future[IngestResult]
    ) -> None:
        try:
            sealed, vault_rows, used = self._seal(prepared)
            committed = self._store.append(
                sealed,
                processors=self._processors,
                new_keys=self._keys.pending_rows(used),
                dedupe=options.dedupe,
                vault_rows=vault_rows,
            )
        except Exception as error:  # reaches the caller through the future
            answer.set_exception(error)
            return
        committed.add_done_callback(partial(self._settled, prepared, options, used, answer))

    def _settled(
        self,
        prepared: _Prepared,
        options: IntakeOptions,
        used: frozenset[int],
        answer: Future[IngestResult],
        committed: Future[AppendResult],
    ) -> None:
        error = committed.exception()
        if isinstance(error, KeyRace):
            # Another process made the key first, or it was erased meanwhile: seal again.
            self._keys.discard(error.key_ids)
            prepared.races += 1
            if prepared.races <= _MAX_RACES:
                self._commit(prepared, options, answer)
                return
            error = StoreUnavailable("data keys keep changing under this batch; send it again")
        if error is not None:
            answer.set_exception(error)
            return
        self._keys.committed(used)
        result = _result(prepared, committed.result())
        self._observe(prepared.given, result)
        answer.set_result(result)

    def _seal(
        self, prepared: _Prepared
    ) -> tuple[list[SealedDraft], list[VaultRow], frozenset[int]]:
        pseudonym_key = self._keys.pseudonym_key
        scopes = [
            scope_of(draft, pseudonym_key)
            if place in prepared.found or _has_payload(draft)
            else None
            for draft, place in zip(prepared.drafts, prepared.places, strict=True)
        ]
        keys = self._keys.for_scopes(list({scope for scope in scopes if scope is not None}))
        sealed: list[SealedDraft] = []
        vault_rows: list[VaultRow] = []
        for draft, place, scope in zip(prepared.drafts, prepared.places, scopes, strict=True):
            key = keys[scope] if scope is not None else None
            payload = None if place in prepared.omitted else self._seal_payload(draft, key)
            sealed.append(
                SealedDraft(
                    draft=draft,
                    received_at=prepared.received_at,
                    key_id=key.key_id if key is not None and payload else None,
                    payload=payload,
                    content_hash=_content_hash(draft, pseudonym_key),
                )
            )
            if key is not None and place in prepared.found:
                vault_rows.extend(
                    vault_row(self._sealer, key, token, value)
                    for token, value in prepared.found[place]
                )
        return sealed, vault_rows, frozenset(key.key_id for key in keys.values())

    def _seal_payload(self, draft: Draft, key: DataKey | None) -> bytes:
        """Empty for a draft that came without a payload."""
        if key is None or not _has_payload(draft):
            return b""
        payload = (draft.input, draft.output, draft.variables, draft.attributes)
        return self._sealer.seal(key, RecordId(draft.id or ""), payload)


def _has_payload(draft: Draft) -> bool:
    return not (
        draft.input is None
        and draft.output is None
        and draft.variables is None
        and draft.attributes is None
    )


def _content_hash(draft: Draft, key: bytes) -> bytes:
    """Keyed, over everything the caller said but who the record is and when."""
    content = _canonical.encode(_content(draft))
    return hashlib.blake2b(content, key=key[:64], digest_size=16).digest()


def _rejection(place: int, draft: Draft, error: AnalectError) -> Rejection:
    given = draft.id if isinstance(draft.id, str) and error.field != "id" else None
    # A caller's own id may be an address or an account: only a record's is said back.
    known = given if given is not None and is_record_id(given.lower()) else None
    return Rejection(place, known, error.code, str(error), error.field)


def _result(prepared: _Prepared, appended: AppendResult | None) -> IngestResult:
    ids: list[RecordId | None] = [None] * len(prepared.given)
    rejected = list(prepared.rejected)
    repeats: list[int] = []
    accepted = 0
    if appended is not None:
        for place, outcome, record_id in zip(
            prepared.places, appended.outcomes, appended.ids, strict=True
        ):
            if outcome == "conflict":
                message = (
                    "this id is stored already with other content; records never change: "
                    "send a new id, or feedback on the stored one"
                )
                rejected.append(Rejection(place, record_id, "conflict", message, "id"))
                continue
            ids[place] = record_id
            if outcome == "stored":
                accepted += 1
            else:
                repeats.append(place)
    rejected.sort(key=lambda rejection: rejection.index)
    return IngestResult(accepted, len(repeats), tuple(rejected), tuple(ids), tuple(repeats))
