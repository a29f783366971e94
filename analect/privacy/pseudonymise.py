"""Replacing personal data by tokens, before anything of a record can become durable.

All texts of a record (promoted fields, names and values of dimensions, and every string and key
of its nested payload) are joined into one blob, which is looked at in one pass; most records
hold nothing and are left as they are. Only where something was found is the record walked again,
in the same order, and given the replaced texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from operator import attrgetter
from typing import Any

import structlog

from analect.model.errors import AnalectError, DetectionFailed, InvalidInput
from analect.model.record import MAX_DEPTH, PAYLOAD_FIELDS, TEXT_FIELDS, Draft, Json
from analect.privacy.detect import (
    Detector,
    Finding,
    PrivacyOptions,
    Scanner,
    installed_detectors,
)
from analect.privacy.tokens import Tokens, is_token

OnFound = Callable[[str, str, int], None]
"""Told of each replacement: token, value in normal form, index of the draft in its batch."""

_IDENTIFIERS = {"session_id": "session", "subject": "subject"}
_FREE_FIELDS = ("external_id", *(name for name in TEXT_FIELDS if name not in _IDENTIFIERS))
_free_texts = attrgetter(*_FREE_FIELDS)
_payload = attrgetter(*PAYLOAD_FIELDS)
_OF_KEY = ":"
"""Stands between a key and its value, so that the key is context for the value."""
_NUMBER = "#"
"""Stands before a whole number: alone it is never a phone number, though it may be a card's."""
_LONG = 10**8
_LARGEST = 2**64
_SMALLEST = -(2**63)

log = structlog.get_logger(__name__)


class Pseudonymiser:
    """Replaces personal data with one store's tokens. Thread-safe; nothing is kept between calls.

    ``detectors`` are looked for besides the built-in ones; left out, those that installed
    packages offer are used.

    Raises:
        ConfigurationError: an option is wrong, or a detector that was asked for is not installed.
    """

    def __init__(
        self,
        key: bytes,
        options: PrivacyOptions | None = None,
        *,
        detectors: Sequence[Detector] | None = None,
    ) -> None:
        options = options or PrivacyOptions()
        plugged = list(installed_detectors() if detectors is None else detectors)
        if options.names:
            from analect.privacy.detectors.names import NameDetector

            plugged.append(NameDetector(options.names_model))
        self._scanner = Scanner(options, plugged)
        self._tokens = Tokens(key)

    def drafts(
        self, drafts: Sequence[Draft], on_found: OnFound | None = None
    ) -> list[AnalectError | None]:
        """Pseudonymise in place; per draft ``None``, or why it must not be stored.

        The errors: :class:`InvalidInput` for a payload that is not plain JSON (its ``field`` is
        the top field), :class:`DetectionFailed` when a detector raised.
        """
        return [self._draft(draft, index, on_found) for index, draft in enumerate(drafts)]

    def text(self, value: str) -> str:
        """Free text with tokens in place of what was found.

        Raises:
            InvalidInput: it holds NUL or a lone surrogate.
            DetectionFailed: a detector raised.
        """
        return self._texts([value])[0]

    def identifier(self, kind: str, value: str) -> str:
        """The token of a whole value (``session``, ``subject``); a token stays as it is."""
        return value if is_token(value) else self._tokens.token(kind, value)

    def promoted(self, name: str, value: str) -> str:
        """A promoted field's value as it is stored, so that it can be asked for."""
        kind = _IDENTIFIERS.get(name)
        return self.identifier(kind, value) if kind else self.text(value)

    def dimension(self, name: str, value: str) -> str:
        """A dimension's value as it is stored; its name may say that it holds an IP address."""
        return self._texts([name, _OF_KEY, value])[2]

    def _texts(self, texts: list[str]) -> list[str]:
        blob = _blob(texts)
        findings = self._find(blob)
        return self._replaced(blob, findings, None) if findings else texts

    def _draft(self, draft: Draft, index: int, on_found: OnFound | None) -> AnalectError | None:
        try:
            texts = _gather(draft)
            try:
                blob = _blob(texts)
            except InvalidInput:
                raise _invalid_characters(draft) from None
            findings = self._find(blob)
        except AnalectError as error:
            return error
        notify = None if on_found is None else _of_draft(on_found, index)
        if findings:
            _rewrite(draft, iter(self._replaced(blob, findings, notify)))
        for name, kind in _IDENTIFIERS.items():
            value = getattr(draft, name)
            if value is not None:
                token = self.identifier(kind, value)
                if notify is not None and token != value:
                    notify(token, value)
                setattr(draft, name, token)
        return None

    def _find(self, blob: bytes) -> list[Finding]:
        try:
            return self._scanner.scan(blob)
        except Exception as error:
            # Neither the text nor the error's own words: they may quote it.
            log.warning("detection_failed", error=type(error).__name__)
            raise DetectionFailed(
                "looking for personal data failed, so the record was not stored; "
                "see the server's log for the detector's error"
            ) from None

    def _replaced(
        self, blob: bytes, findings: list[Finding], notify: Callable[[str, str], None] | None
    ) -> list[str]:
        pieces: list[bytes] = []
        position = 0
        for finding in findings:
            token = self._tokens.token(finding.kind, finding.value)
            if notify is not None:
                notify(token, finding.value)
            pieces += (blob[position : finding.start], token.encode())
            position = finding.end
        pieces.append(blob[position:])
        return b"".join(pieces).decode()[1:-1].split("\0")


def _of_draft(on_found: OnFound, index: int) -> Callable[[str, str], None]:
    return lambda token, value: on_found(token, value, index)


def _blob(texts: list[str]) -> bytes:
    """NUL before, between and behind, in UTF-8."""
    joined = "\0".join(("", *texts, ""))
    if joined.count("\0") != len(texts) + 1:
        raise InvalidInput("text must not hold NUL characters")
    try:
        return joined.encode()
    except UnicodeEncodeError:
        raise InvalidInput("text must not hold lone surrogates") from None


def _gather(draft: Draft) -> list[str]:
    """Every text of a draft, in the order in which :func:`_rewrite` asks for them."""
    texts = [value for value in _free_texts(draft) if value is not None]
    texts += draft.tags
    for name, value in draft.dimensions.items():
        texts += (name, _OF_KEY, value)
    texts += draft.measures
    for name, value in zip(PAYLOAD_FIELDS, _payload(draft), strict=True):
        if type(value) is str:
            texts.append(value)
        elif value is not None:
            try:
                _gather_json(value, texts, 0)
            except InvalidInput as error:
                raise InvalidInput(f"{name}: {error}", field=name) from None
    return texts


def _gather_json(value: Json, texts: list[str], depth: int) -> None:
    kind = type(value)
    if kind is dict:
        if depth == MAX_DEPTH:
            raise InvalidInput(f"nested deeper than {MAX_DEPTH} levels")
        for key, child in value.items():
            if type(key) is not str:
                raise InvalidInput("a key of an object must be text")
            if type(child) is str:
                texts += (key, _OF_KEY, child)
            else:
                texts += (key, _OF_KEY)
                if child is not None:
                    _gather_json(child, texts, depth + 1)
    elif kind is list or kind is tuple:
        if depth == MAX_DEPTH:
            raise InvalidInput(f"nested deeper than {MAX_DEPTH} levels")
        for child in value:
            if type(child) is str:
                texts.append(child)
            elif child is not None:
                _gather_json(child, texts, depth + 1)
    elif kind is int:
        if not -_LONG < value < _LONG:
            if not _SMALLEST <= value < _LARGEST:
                raise InvalidInput("a whole number must fit in 64 bits")
            texts.append(f"{_NUMBER}{value}")
    elif kind is float:
        if not isfinite(value):
            raise InvalidInput("a number must be finite")
    elif kind is str:
        texts.append(value)
    elif kind is not bool and value is not None:
        raise InvalidInput("not plain JSON: use objects, lists, text, numbers, true, false, null")


def _rewrite(draft: Draft, texts: Iterator[str]) -> None:
    """Give a draft its replaced texts, in the order of :func:`_gather`."""
    for name in _FREE_FIELDS:
        if getattr(draft, name) is not None:
            setattr(draft, name, next(texts))
    draft.tags = list(dict.fromkeys(next(texts) for _ in draft.tags))
    draft.dimensions = _pairs((next(texts), next(texts), next(texts)) for _ in draft.dimensions)
    measures: dict[str, float] = {}
    for value in draft.measures.values():
        measures[_free_key(measures, next(texts))] = value
    draft.measures = measures
    for name in PAYLOAD_FIELDS:
        value = getattr(draft, name)
        if value is not None:
            setattr(draft, name, _rewrite_json(value, texts))


def _pairs(triples: Iterator[tuple[str, str, str]]) -> dict[str, str]:
    result: dict[str, str] = {}
    for key, _, value in triples:
        result[_free_key(result, key)] = value
    return result


def _free_key(taken: dict[str, Any], key: str) -> str:
    """Two keys may be one person (``Bob@x.org``, ``bob@x.org``): the second is numbered."""
    if key not in taken:
        return key
    number = 2
    while f"{key}~{number}" in taken:
        number += 1
    return f"{key}~{number}"


def _rewrite_json(value: Json, texts: Iterator[str]) -> Json:
    kind = type(value)
    if kind is str:
        return next(texts)
    if kind is dict:
        result: dict[str, Json] = {}
        for child in value.values():
            key = next(texts)
            next(texts)
            result[_free_key(result, key)] = _rewrite_json(child, texts)
        return result
    if kind is list or kind is tuple:
        return [_rewrite_json(child, texts) for child in value]
    if kind is int and not -_LONG < value < _LONG:
        replaced = next(texts)
        return value if replaced == f"{_NUMBER}{value}" else replaced.removeprefix(_NUMBER)
    return value


def _invalid_characters(draft: Draft) -> InvalidInput:
    """Names the field whose text cannot be stored; slow, and only for those that are refused."""
    for name in (*_FREE_FIELDS, "tags", "dimensions", "measures", *PAYLOAD_FIELDS):
        value = getattr(draft, name)
        texts: list[str] = []
        if value is not None:
            _gather_json(list(value) if name == "measures" else value, texts, 0)
        try:
            _blob(texts)
        except InvalidInput as error:
            return InvalidInput(f"{name}: {error}", field=name)
    return InvalidInput("text must not hold NUL characters or lone surrogates")
