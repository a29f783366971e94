"""Finding personal data: the built-in rules, the allow and deny lists, and plugged-in detectors.

One RE2 set looks for every rule's trigger in one pass; only rules whose trigger matched run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

import re2

from analect.installed import offered
from analect.model.errors import ConfigurationError
from analect.privacy.detectors.matching import Found, Rule, pattern, pattern_set
from analect.privacy.escapes import TRIGGER as ESCAPED
from analect.privacy.escapes import unescape
from analect.privacy.patterns import KINDS, RULES
from analect.privacy.tokens import is_kind

DEFAULT_NAMES_MODEL = "en_core_web_sm"
ENTRY_POINTS = "analect.detectors"
_SET_MEMORY = 32 << 20
_TOKEN = re2.compile(rb"<[a-z][a-z0-9-]{0,31}:[0-9a-f]{16}>")
_RESERVED = ""
"""The kind of spans that nothing may touch: tokens, and values on the allow list."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start:end`` of a text hold personal data; ``value`` is it in normal form."""

    start: int
    end: int
    value: str


class Detector(Protocol):
    """What a plugged-in detector is. It sees one text at a time and must be thread-safe.

    Whatever it raises refuses the record: nothing is stored that was not looked at.
    """

    @property
    def kind(self) -> str:
        """What a token says: lower-case letters, digits, hyphens."""
        ...

    def find(self, text: str) -> Iterable[Span]:
        """Every finding in ``text``."""
        ...


@dataclass(frozen=True, slots=True)
class PrivacyOptions:
    """``detectors``: the built-in kinds to look for. ``allow`` is never replaced, ``deny``
    always; an entry is a literal (any case, whole words) or ``/an RE2 pattern/``. ``names``
    also looks for names of people (extra package ``presidio-analyzer``), with the spaCy pipeline
    ``names_model``.
    """

    detectors: tuple[str, ...] = KINDS
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    names: bool = False
    names_model: str = DEFAULT_NAMES_MODEL


@dataclass(frozen=True, slots=True)
class Finding:
    """Bytes ``start:end`` of a blob are of this kind; ``value`` in normal form."""

    start: int
    end: int
    kind: str
    value: str


class Scanner:
    """Finds everything in a blob of texts joined by NUL. Thread-safe.

    Raises:
        ConfigurationError: an option names no known detector, or holds a bad pattern.
    """

    def __init__(self, options: PrivacyOptions, detectors: Sequence[Detector] = ()) -> None:
        unknown = sorted(set(options.detectors) - set(KINDS))
        if unknown:
            known = ", ".join(KINDS)
            raise ConfigurationError(
                f"no built-in detector finds {', '.join(unknown)}; there are: {known}",
                field="privacy.detectors",
            )
        for detector in detectors:
            if not is_kind(detector.kind):
                raise ConfigurationError(
                    "a detector's kind must be lower-case letters, digits and hyphens",
                    field="privacy.detectors",
                )
        self._detectors = tuple(detectors)
        self._allow = _allowed(options.allow)
        self._rules = (
            *_denied(options.deny),
            *(rule for rule in RULES if rule.kind in options.detectors),
        )
        triggers = [rule.trigger for rule in self._rules]
        self._escaped = len(triggers)
        self._triggers = pattern_set([*triggers, ESCAPED], _SET_MEMORY)

    def scan(self, blob: bytes) -> list[Finding]:
        """What to replace, in order, none overlapping another."""
        hits = self._triggers.Match(blob)
        if hits is None and not self._detectors:
            return []
        candidates = [Finding(m.start(), m.end(), _RESERVED, "") for m in _TOKEN.finditer(blob)]
        candidates.extend(self._by_rules(blob, hits or ()))
        for detector in self._detectors:
            candidates.extend(
                Finding(
                    found.start, found.end, self._kind_of(detector.kind, blob, found), found.value
                )
                for found in _plugged(detector, blob)
            )
        if self._escaped in (hits or ()):
            candidates.extend(self._in_escaped(blob))
        return _without_overlaps(candidates)

    def _by_rules(self, blob: bytes, hits: Iterable[int]) -> Iterator[Finding]:
        for hit in sorted(hits):
            if hit != self._escaped:
                rule = self._rules[hit]
                for found in rule.find(blob):
                    kind = self._kind_of(rule.kind, blob, found)
                    yield Finding(found.start, found.end, kind, found.value)

    def _in_escaped(self, blob: bytes) -> Iterator[Finding]:
        """What is found once escapes are undone, where it stands in ``blob``."""
        read = unescape(blob)
        for found in self._by_rules(read.blob, self._triggers.Match(read.blob) or ()):
            yield Finding(read.source(found.start), read.source(found.end), found.kind, found.value)

    def _kind_of(self, kind: str, blob: bytes, found: Found) -> str:
        if self._allow is None or kind == "deny":
            return kind
        return _RESERVED if self._allow.fullmatch(blob[found.start : found.end]) else kind


def _without_overlaps(candidates: list[Finding]) -> list[Finding]:
    """The earlier candidate of two that overlap wins; reserved ones are then left out."""
    kept: list[Finding] = []
    for candidate in candidates:
        place = bisect_left(kept, candidate.start, key=_start)
        after_previous = place == 0 or kept[place - 1].end <= candidate.start
        before_next = place == len(kept) or candidate.end <= kept[place].start
        if after_previous and before_next:
            kept.insert(place, candidate)
    return [finding for finding in kept if finding.kind]


_start = attrgetter("start")


def _plugged(detector: Detector, blob: bytes) -> Iterator[Found]:
    """Findings of a detector that knows nothing of blobs, in bytes of the blob."""
    position = 0
    for item in blob.split(b"\0"):
        if item and item != b":":
            text = item.decode()
            for span in detector.find(text):
                start = position + len(text[: span.start].encode())
                end = start + len(text[span.start : span.end].encode())
                if end > start:
                    yield Found(start, end, span.value)
        position += len(item) + 1


def _source(entry: str, field: str) -> str:
    """RE2 source of an entry of a list: a literal in whole words, or ``/a pattern/``."""
    if len(entry) > 2 and entry[0] == entry[-1] == "/":
        source = entry[1:-1]
        try:
            pattern(source)
        except re2.error as error:
            raise ConfigurationError(
                f"{field} has an entry between slashes that is no RE2 pattern", field=field
            ) from error
        return f"(?:{source})"
    if not entry:
        raise ConfigurationError(f"{field} has an empty entry: take it out", field=field)
    left = r"\b" if entry[0].isascii() and entry[0].isalnum() else ""
    right = r"\b" if entry[-1].isascii() and entry[-1].isalnum() else ""
    return f"(?i:{left}{re2.escape(entry)}{right})"


def _allowed(entries: Sequence[str]) -> Any:
    if not entries:
        return None
    return re2.compile("|".join(_source(entry, "privacy.allow") for entry in entries).encode())


def _denied(entries: Sequence[str]) -> list[Rule]:
    rules = []
    for entry in entries:
        source = _source(entry, "privacy.deny")
        compiled = re2.compile(source.encode())

        def find(blob: bytes, compiled: Any = compiled) -> Iterator[Found]:
            for match in compiled.finditer(blob):
                start, end = match.span()
                inside = blob[start:end].strip(b"\0")
                if inside and b"\0" not in inside:
                    start = blob.index(inside, start)
                    value = inside.decode("utf-8", "replace").casefold()
                    yield Found(start, start + len(inside), value)

        rules.append(Rule("deny", source, find))
    return rules


def installed_detectors() -> list[Detector]:
    """One of each detector that installed packages offer (entry point group ``analect.detectors``).

    Raises:
        ConfigurationError: an offered detector cannot be made.
    """
    found: list[Detector] = []
    for entry in offered(ENTRY_POINTS):
        try:
            found.append(entry.load()())
        except Exception as error:
            raise ConfigurationError(
                f"the detector {entry.name} ({entry.value}) cannot be loaded",
                field="privacy.detectors",
            ) from error
    return found
