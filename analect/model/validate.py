"""Checks every promoted field of a draft and makes its id and time agree.

Pure, and on the hot path of every write: the usual draft is looked over in a few passes over
tuples of fields, and only a wrong one pays for finding out which field it was. Payload fields are
not looked at here; whoever walks them for personal data checks their depth and characters.
"""

from __future__ import annotations

import re
from math import isfinite
from operator import attrgetter
from typing import Any, NoReturn

from analect.model.errors import InvalidInput
from analect.model.ids import (
    AHEAD,
    EARLIEST,
    Micros,
    RandomBytes,
    derived_id,
    id_millis,
    is_record_id,
    new_id,
)
from analect.model.record import (
    MAX_DIMENSIONS,
    MAX_EXTERNAL_ID,
    MAX_MEASURES,
    MAX_SHORT,
    MAX_TAGS,
    TEXT_FIELDS,
    Draft,
)

MAX_KIND = 64
MAX_INTEGER = 2**63 - 1
"""What a BIGINT column holds."""

_KIND = re.compile(r"[a-z][a-z0-9_]*\Z")
_TEXTS = attrgetter(*TEXT_FIELDS)
_COUNT_FIELDS = ("input_tokens", "output_tokens", "turn")
_COUNTS = attrgetter(*_COUNT_FIELDS)
_FLOAT_FIELDS = ("duration_ms", "cost", "confidence")
_FLOATS = attrgetter(*_FLOAT_FIELDS)


def settle(draft: Draft, *, now: Micros, key: bytes, random_bytes: RandomBytes) -> None:
    """Check ``draft`` and fill ``id``, ``external_id`` and ``occurred_at`` so that they agree.

    In place: an empty promoted text becomes ``None`` ("not said"), tags lose their repeats, and
    whole numbers in ``duration_ms``, ``cost`` and ``confidence`` become floats. Settling twice
    changes nothing more. ``key`` derives the ids of external identifiers.

    Raises:
        InvalidInput: ``field`` names what is wrong; the message says what to do about it and
            quotes nothing.
    """
    if type(draft.kind) is not str or len(draft.kind) > MAX_KIND or not _KIND.match(draft.kind):
        raise InvalidInput(
            f"kind must be a lower-case name (a-z, 0-9, _; at most {MAX_KIND} characters)",
            field="kind",
        )
    texts = _check_texts(draft)
    _check_numbers(draft)
    texts.extend(_check_collections(draft))
    _settle_identity(draft, now, key, random_bytes)
    if draft.external_id is not None:
        texts.append(draft.external_id)
    together = "".join(texts)
    if "\0" in together or not (together.isascii() or _encodes(together)):
        _refuse_characters(draft)


def _check_texts(draft: Draft) -> list[str]:
    """The promoted texts that were said, each at most ``MAX_SHORT`` characters."""
    said = [value for value in _TEXTS(draft) if value is not None]
    for value in said:
        if type(value) is not str or not 0 < len(value) <= MAX_SHORT:
            return _mend_texts(draft)
    return said


def _mend_texts(draft: Draft) -> list[str]:
    """The slow way over the promoted texts: names the wrong one, or mends what can be mended."""
    said: list[str] = []
    for name in TEXT_FIELDS:
        value = getattr(draft, name)
        if value is None:
            continue
        plain = _plain(value, name)
        if len(plain) > MAX_SHORT:
            raise InvalidInput(f"{name} is over {MAX_SHORT} characters", field=name)
        setattr(draft, name, plain or None)
        if plain:
            said.append(plain)
    return said


def _plain(value: Any, name: str) -> str:
    """``value`` as an exact ``str`` (an enumeration's member may be one of a subclass)."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be text", field=name)
    return str.__str__(value)


def _check_numbers(draft: Draft) -> None:
    success = draft.success
    if success is not None and success is not True and success is not False:
        raise InvalidInput("success must be true or false", field="success")
    rating = draft.rating
    if rating is not None and (type(rating) is not int or not 1 <= rating <= 5):
        raise InvalidInput("rating must be a whole number from 1 to 5", field="rating")
    for value in _COUNTS(draft):
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_INTEGER):
            _refuse_count(draft)
    for value in _FLOATS(draft):
        if value is not None:
            _check_floats(draft)
            break


def _refuse_count(draft: Draft) -> NoReturn:
    for name, value in zip(_COUNT_FIELDS, _COUNTS(draft), strict=True):
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_INTEGER):
            raise InvalidInput(f"{name} must be a whole number from 0 to {MAX_INTEGER}", field=name)
    raise AssertionError


def _check_floats(draft: Draft) -> None:
    duration = draft.duration_ms
    if duration is not None:
        if not _is_number(duration) or duration < 0:
            raise InvalidInput(
                "duration_ms must be a finite number, 0 or more", field="duration_ms"
            )
        draft.duration_ms = float(duration)
    cost = draft.cost
    if cost is not None:
        if not _is_number(cost):
            raise InvalidInput("cost must be a finite number", field="cost")
        draft.cost = float(cost)
    confidence = draft.confidence
    if confidence is not None:
        if not _is_number(confidence) or not 0 <= confidence <= 1:
            raise InvalidInput("confidence must be a number from 0 to 1", field="confidence")
        draft.confidence = float(confidence)


def _is_number(value: Any) -> bool:
    """A finite float, or an integer of at most 64 bits; a bool is neither."""
    if type(value) is int:
        return -MAX_INTEGER <= value <= MAX_INTEGER
    return isinstance(value, float) and isfinite(value)


def _check_collections(draft: Draft) -> list[str]:
    """Tags, dimensions and measures; returns every text in them."""
    said: list[str] = []
    tags, dimensions, measures = draft.tags, draft.dimensions, draft.measures
    if tags or type(tags) is not list:
        said += _check_tags(draft)
    if dimensions or type(dimensions) is not dict:
        _check_named("dimensions", dimensions, MAX_DIMENSIONS)
        for value in dimensions.values():
            if type(value) is not str or len(value) > MAX_SHORT:
                raise InvalidInput(
                    f"every dimension must be text of at most {MAX_SHORT} characters",
                    field="dimensions",
                )
        said += dimensions
        said += dimensions.values()
    if measures or type(measures) is not dict:
        _check_named("measures", measures, MAX_MEASURES)
        for number in measures.values():
            if not _is_number(number):
                raise InvalidInput("every measure must be a finite number", field="measures")
        said += measures
    return said


def _check_tags(draft: Draft) -> list[str]:
    tags = draft.tags
    if not isinstance(tags, (list, tuple)):
        raise InvalidInput("tags must be a list of texts", field="tags")
    for tag in tags:
        if type(tag) is not str or not 0 < len(tag) <= MAX_SHORT:
            raise InvalidInput(
                f"every tag must be text of 1 to {MAX_SHORT} characters", field="tags"
            )
    unique = draft.tags = list(dict.fromkeys(tags))
    if len(unique) > MAX_TAGS:
        raise InvalidInput(f"there are more than {MAX_TAGS} tags", field="tags")
    return unique


def _check_named(field: str, values: Any, limit: int) -> None:
    """``values`` is a dict of at most ``limit`` short names."""
    if not isinstance(values, dict):
        raise InvalidInput(f"{field} must be an object of names and values", field=field)
    if len(values) > limit:
        raise InvalidInput(f"there are more than {limit} {field}", field=field)
    for name in values:
        if type(name) is not str or not 0 < len(name) <= MAX_SHORT:
            raise InvalidInput(
                f"every name in {field} must be text of 1 to {MAX_SHORT} characters", field=field
            )


def _settle_identity(draft: Draft, now: Micros, key: bytes, random_bytes: RandomBytes) -> None:
    """Make ``id``, ``external_id`` and ``occurred_at`` agree (the id carries its time)."""
    occurred_at = draft.occurred_at
    if occurred_at is not None:
        _check_time(occurred_at, now, "occurred_at")
    external_id = draft.external_id
    if external_id is not None:
        _check_identifier(external_id, "external_id")
    given = draft.id
    if given is not None:
        _check_identifier(given, "id")
        lowered = given.lower()
        if is_record_id(lowered):
            _settle_time(draft, lowered, now)
            return
        if external_id is not None and external_id != given:
            raise InvalidInput(
                "id is not a UUIDv7 and external_id says otherwise: send one of them", field="id"
            )
        external_id = draft.external_id = given
    if external_id is None:
        draft.occurred_at = at = now if occurred_at is None else occurred_at
        draft.id = new_id(at, random_bytes)
        return
    if occurred_at is None:
        raise InvalidInput(
            "an id of your own needs occurred_at: the record's id is derived from both, so that "
            "a retry is the same record",
            field="occurred_at",
        )
    if not _encodes(external_id):
        _refuse_characters(draft)
    draft.id = derived_id(key, draft.source or "", external_id, occurred_at)


def _settle_time(draft: Draft, record_id: str, now: Micros) -> None:
    """A UUIDv7 says when; ``occurred_at`` may only add the microseconds within."""
    millis = id_millis(record_id)
    if draft.occurred_at is None:
        _check_time(millis * 1000, now, "id")
        draft.occurred_at = millis * 1000
    elif draft.occurred_at // 1000 != millis:
        raise InvalidInput(
            "id is a UUIDv7 of another millisecond than occurred_at: send only one of the two, "
            "make the id at that millisecond, or send the id as external_id",
            field="id",
        )
    draft.id = record_id


def _check_time(at: Any, now: Micros, field: str) -> None:
    if type(at) is not int:
        raise InvalidInput(f"{field} must be whole microseconds since 1970, UTC", field=field)
    if not EARLIEST <= at <= now + AHEAD:
        raise InvalidInput(
            f"{field} must lie between 2000-01-01 and one day ahead of the store's clock",
            field=field,
        )


def _check_identifier(value: Any, field: str) -> None:
    if type(value) is not str or not 0 < len(value) <= MAX_EXTERNAL_ID:
        raise InvalidInput(
            f"{field} must be text of 1 to {MAX_EXTERNAL_ID} characters, or left out", field=field
        )


def _encodes(text: str) -> bool:
    """Whether ``text`` is free of lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_characters(draft: Draft) -> NoReturn:
    """Name the field that holds a NUL or a lone surrogate."""
    texts = {name: getattr(draft, name) or "" for name in ("external_id", *TEXT_FIELDS)}
    texts["tags"] = "".join(draft.tags)
    texts["dimensions"] = "".join((*draft.dimensions, *draft.dimensions.values()))
    texts["measures"] = "".join(draft.measures)
    for name, text in texts.items():
        if "\0" in text or not _encodes(text):
            raise InvalidInput(
                f"{name} holds a NUL or a lone surrogate: remove it, no database keeps one",
                field=name,
            )
    raise AssertionError
