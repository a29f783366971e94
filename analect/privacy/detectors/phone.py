"""Telephone numbers: international (ITU E.164), and national where they are written like one.

Digits alone prove nothing, so each form says how much it needs: a plus sign and a real country
code stand for themselves, a national grouping must not be a date or a code, and bare digits
need a word such as "phone" in front (a dozen languages).
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from analect.privacy.detectors.codes import is_code
from analect.privacy.detectors.dialling import (
    CALLED,
    CALLED_BEHIND,
    NAMES,
    is_date,
    split_country,
)
from analect.privacy.detectors.matching import (
    SEPARATOR,
    Found,
    Rule,
    before,
    digits,
    is_digit,
    is_word,
    rule,
    stands_alone,
    text,
)

_S = SEPARATOR
_S2 = rf"(?:{_S}{{1,2}}|{_S}?[()/]{_S}?|\){_S}\(|\){_S}?[()]?)"
_PLUS = rf"\(?(?:\+|\x{{ff0b}}) ?\(?\d{{1,4}}\)?(?:{_S2}?\d{{1,12}}){{1,6}}"
_ZEROS = rf"\b(?:00{_S}?|011{_S})[1-9]\d{{0,3}}(?:{_S2}?\d{{1,12}}){{1,6}}"
_NANP = rf"(?:\b1{_S})?(?:\(\d{{3}}\){_S}{{0,2}}|\b\d{{3}}{_S}|\b\d{{3}}/{_S}?)\d{{3}}{_S}\d{{4}}"
_TRUNK = (
    rf"(?:\(0\d{{1,4}}\) ?|\b0\d{{1,4}}(?: ?/ ?|{_S}{{1,3}}))"
    rf"(?:\d{{5,8}}|\d{{2,4}}(?:{_S}\d{{2,4}}){{1,4}}|\d{{3,4}}{_S}?\d{{4}}|\d{{3}}{_S}\d{{5}})"
)
_MOBILE = r"\b(?:0[67]\d{8}|07\d{9}|1[3-9]\d{9}|0[789]0\d{8})\b"
_NATIONAL = (
    rf"\b1[3-9]\d{_S}\d{{4}}{_S}\d{{4}}"  # China
    rf"|\b8{_S}?\(?[3489]\d\d\)?{_S}?\d{{3}}{_S}\d\d{_S}\d\d"  # Russia
    rf"|\(\d{{2,4}}\) ?\d{{4,5}}{_S}\d{{4}}|\b\d\d 9\d{{4}}-\d{{4}}"  # Brazil, Argentina, Mexico
    rf"|\b[6-9]\d\d \d\d \d\d \d\d|\b1[38]00 \d{{3}} \d{{3}}"  # Spain, Australia
)
_DIGIT = r"[\x{660}-\x{669}\x{6f0}-\x{6f9}\x{966}-\x{96f}\x{ff10}-\x{ff19}]"
_SCRIPT = rf"[+\x{{ff0b}}]?{_DIGIT}(?:(?:{_S}|[\x{{ff0d}}\x{{2212}}])?{_DIGIT}){{8,14}}"
_ANY = rf"(\(?\d{{2,}}(?:{_S2}?\d+){{0,6}})"
_CALLED = CALLED + _ANY
_CALLED_TRIGGER = (
    rf"(?i:{NAMES}|call|dial|text|reach|ring|number)[^\d\x00\r\n]*(?:\x00:\x00[^\d\x00]*)?"
    r"\d[^\x00A-Za-z]{0,3}\d[^\x00A-Za-z]{5}"
)
_APART = r"[^0-9A-Za-z_.\-/]"
_PLUS_TRIGGER = r"[+\x{ff0b}][ (]{0,2}[1-9][^\x00A-Za-z]{6}"
_ZEROS_TRIGGER = rf"{_APART}(?:00{_S}?|011{_S})[1-9](?:[)(/]|{_S}|\d){{7}}"
_NANP_TRIGGER = rf"\d{{3}}\)?(?:{_S}|/){{0,2}}\d{{3}}{_S}\d{{4}}"
_TRUNK_TRIGGER = rf"{_APART}\(?0\d{{1,4}}[)/]?(?:[/]|{_S}){{1,3}}\d{{2,4}}{_S}?\d{{2,4}}"
_MOBILE_TRIGGER = rf"{_APART}(?:0[67]\d{{8}}|1[3-9]\d{{9}}|0[89]0\d{{8}})"
_SAMPLE = "1234567890"
"""Not dialled anywhere, and yet everybody's example."""
_ROW = re.compile(rb"\d[:;,|]?\s*$")
_ONLY_BLANKS = re.compile(rb"[\d ]+\Z")


_EXTENSION = re.compile(rb"(?:x|ext)\.?\d{1,6}(?![0-9A-Za-z_])")
_ZIP = re.compile(rb"\d{5}-?\d{3}\Z")
_OF_A_ZIP = re.compile(rb"(?i)\bcep\W*\Z")
"""Portuguese for a postal code, Turkish for a mobile phone."""


def _international(start: int, end: int, number: str) -> Found | None:
    split = split_country(number)
    if split is None:
        return None
    return Found(start, end, f"+{split[0]}{split[1]}")


def _trim(blob: bytes, start: int, end: int) -> tuple[int, int]:
    """Drop a bracket that is not closed inside the match."""
    if blob[start : start + 1] == b"(" and b")" not in blob[start:end]:
        start += 1
    return start, end


def _check_plus(blob: bytes, start: int, end: int) -> Found | None:
    start, end = _trim(blob, start, end)
    if is_word(blob, start - 1) or blob[start - 1 : start] in (b"+", b")"):
        return None
    if is_word(blob, end) and not _EXTENSION.match(
        blob, end
    ):  # "+44 20 7946 0958 0A": the last group is the beginning of a word
        cut = _without_last_group(blob, start, end)
        if cut is None:
            return None
        end = cut
    found = _international(start, end, digits(blob, start, end))
    while found is None and (cut := _without_last_group(blob, start, end)) is not None:
        end = cut  # "+44 20 7946 0958 12": the last group is another number
        found = _international(start, end, digits(blob, start, end))
    return found


def _without_last_group(blob: bytes, start: int, end: int) -> int | None:
    index = end
    while index > start and is_digit(blob, index - 1):
        index -= 1
    while index > start and not is_digit(blob, index - 1):
        index -= 1
    return index if index - start >= 9 else None


def _check_zeros(blob: bytes, start: int, end: int) -> Found | None:
    if not _is_apart(blob, start, end) or is_code(before(blob, start)):
        return None
    number = digits(blob, start, end)
    number = number[3 if number.startswith("011") else 2 :]
    if number[0] in "17" and len(number) == end - start - 2:
        return None  # zeros in front of some number
    return _international(start, end, number)


def _check_nanp(blob: bytes, start: int, end: int) -> Found | None:
    if blob[start - 1 : start] == b"+" or not _is_apart(blob, start, end):
        return None
    number = digits(blob, start, end)[-10:]
    if len(set(number)) == 1 or (number[0] in "01" and number != _SAMPLE):
        return None
    hyphens = any(mark in blob[start:end] for mark in (b"-", b"(", b"\xe2"))
    if not hyphens and _ROW.search(blob[max(0, start - 4) : start]):
        return None  # "row 12: 415 555 2671"
    if (not hyphens and number[3] in "01") or is_code(before(blob, start)):
        return None
    return Found(start, end, f"+1{number}")


def _is_apart(blob: bytes, start: int, end: int) -> bool:
    """Stands alone, and groups between blanks are not the middle of a row of numbers."""
    if not stands_alone(blob, start, end) and not (
        _EXTENSION.match(blob, end) and not is_word(blob, start - 1)
    ):
        return False
    if (
        blob[start : start + 1] != b"("
        and is_digit(blob, start - 2)
        and blob[start - 1 : start] == b" "
    ):
        return _ONLY_BLANKS.match(blob[start:end]) is None
    return not (
        blob[end : end + 1] == b" "
        and is_digit(blob, end + 1)
        and _ONLY_BLANKS.match(blob[start:end])
    )


def _check_trunk(blob: bytes, start: int, end: int) -> Found | None:
    if not _is_apart(blob, start, end):
        return None
    number = digits(blob, start, end)
    value = text(blob, start, end)
    if not 9 <= len(number) <= 12 or number[1] == "0" or is_date(value):
        return None
    groups = re.findall(r"\d+", value)
    is_zip = len(number) == 9 and len(groups[0]) == 5
    is_decimal = len(groups) == 2 and "." in value
    is_pairs = {len(group) for group in groups} == {2} and len(groups) != 5
    is_row = len(groups) >= 4 and len({int(b) - int(a) for a, b in pairwise(groups)}) == 1
    is_clock = blob[end : end + 1] == b":" and is_digit(blob, end + 1)
    if is_zip or is_decimal or is_pairs or is_row or is_clock or is_code(before(blob, start)):
        return None
    return Found(start, end, number)


def _check_bare(blob: bytes, start: int, end: int) -> Found | None:
    number = digits(blob, start, end)
    if _is_round(number) or not stands_alone(blob, start, end) or is_code(before(blob, start)):
        return None
    return Found(start, end, _dialled(number))


def _check_script(blob: bytes, start: int, end: int) -> Found | None:
    """Digits of another script, or full-width ones: as many as a number that is dialled."""
    value = text(blob, start, end)
    number = "".join(str(unicodedata.digit(c)) for c in value if c.isdecimal())
    if value[0] in "+\uff0b":
        return _international(start, end, number)
    if number.startswith("00"):
        return _international(start, end, number[2:])
    if number[0] != "0" or not 9 <= len(number) <= 11 or is_code(before(blob, start)):
        return None
    return Found(start, end, number)


def _check_national(blob: bytes, start: int, end: int) -> Found | None:
    if not _is_apart(blob, start, end) or is_code(before(blob, start)):
        return None
    return Found(start, end, _dialled(digits(blob, start, end)))


def _check_called(blob: bytes, start: int, end: int) -> Found | None:
    start, end = _trim(blob, start, end)
    number = digits(blob, start, end)
    is_cut = is_word(blob, end) and not _EXTENSION.match(blob, end)
    if not 7 <= len(number) <= 15 or is_cut or is_date(text(blob, start, end)):
        return None
    if is_word(blob, start - 1) or (number == blob[start:end].decode() and _is_round(number)):
        return None
    if _ZIP.match(blob[start:end]) and _OF_A_ZIP.search(before(blob, start)):
        return None
    return Found(start, end, _dialled(number))


def _is_round(number: str) -> bool:
    return number.endswith("000000") or len(set(number)) < 3


def _dialled(number: str) -> str:
    """With its country code where the form alone tells the country, else as it is dialled there."""
    if number.startswith("00") and (split := split_country(number[2:])):
        return f"+{split[0]}{split[1]}"
    if len(number) == 11 and number[0] == "1" and number[1] in "3456789":
        return f"+86{number}"
    if len(number) == 11 and number[0] == "8":
        return f"+7{number[1:]}"
    if len(number) == 10 and number[0] in "23456789":
        return f"+1{number}"
    return number


RULES: tuple[Rule, ...] = (
    rule("phone", _PLUS, _check_plus, trigger=_PLUS_TRIGGER),
    rule("phone", _ZEROS, _check_zeros, trigger=_ZEROS_TRIGGER),
    rule("phone", _NANP, _check_nanp, trigger=_NANP_TRIGGER),
    rule("phone", _NATIONAL, _check_national),
    rule("phone", _TRUNK, _check_trunk, trigger=_TRUNK_TRIGGER),
    rule("phone", _SCRIPT, _check_script),
    rule("phone", _MOBILE, _check_bare, trigger=_MOBILE_TRIGGER),
    rule("phone", _CALLED, _check_called, trigger=_CALLED_TRIGGER),
    rule("phone", _ANY + CALLED_BEHIND, _check_called, trigger=rf"\d{CALLED_BEHIND}"),
)
