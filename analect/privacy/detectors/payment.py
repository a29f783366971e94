"""Payment cards (ISO/IEC 7812, Luhn) and bank accounts (ISO 13616, mod 97)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analect.privacy.detectors.codes import NAMED, THING, is_said_of_a_thing
from analect.privacy.detectors.matching import (
    APART,
    SEPARATOR,
    Found,
    Rule,
    before,
    digits,
    is_digit,
    is_word,
    pattern,
    pattern_set,
)

# Issuer prefixes (lowest, highest) and the lengths of their numbers: those that are believed where
# nothing else speaks for a card, and those that are not.
_Issuers = tuple[tuple[str, str, frozenset[int]], ...]
_COMMON: _Issuers = (
    ("4", "4", frozenset([16])),  # Visa
    ("51", "55", frozenset([16])),  # Mastercard
    ("2221", "2720", frozenset([16])),
    ("34", "34", frozenset([15])),  # American Express
    ("37", "37", frozenset([15])),
    ("6011", "6011", frozenset([16])),  # Discover
    ("644", "659", frozenset([16])),
    ("300", "305", frozenset([14])),  # Diners Club
    ("3095", "3095", frozenset([14])),
    ("36", "36", frozenset([14])),
    ("38", "39", frozenset([14])),
    ("3528", "3589", frozenset([16])),  # JCB
    ("62", "62", frozenset([16])),  # UnionPay
)
_RARE: _Issuers = (
    ("4", "4", frozenset([13, 19])),
    ("6011", "6011", frozenset([19])),
    ("644", "659", frozenset([19])),
    ("300", "305", frozenset([16])),
    ("3095", "3095", frozenset([16])),
    ("36", "36", frozenset([16])),
    ("38", "39", frozenset([16])),
    ("3528", "3589", frozenset([19])),
    ("62", "62", frozenset([17, 18, 19])),
    ("81", "81", frozenset([16])),  # RuPay, UnionPay
    ("60", "60", frozenset([16])),  # RuPay, Hipercard
    ("2200", "2205", frozenset([16, 17, 18, 19])),  # Mir
    ("5018", "5018", frozenset(range(13, 20))),  # Maestro
    ("5020", "5020", frozenset(range(13, 20))),
    ("5038", "5038", frozenset(range(13, 20))),
    ("5061", "5063", frozenset([16, 18, 19])),  # Verve, Elo
    ("5067", "5067", frozenset([16])),
    ("5090", "5090", frozenset([16])),
    ("5019", "5019", frozenset([16])),  # Dankort
    ("56", "58", frozenset(range(16, 20))),
    ("6304", "6304", frozenset(range(13, 20))),
    ("6759", "6759", frozenset(range(13, 20))),
    ("6761", "6763", frozenset(range(13, 20))),
    ("6767", "6767", frozenset(range(16, 20))),
    ("9792", "9792", frozenset([16])),  # Troy
)
_SHAPES = frozenset(
    [(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 4, 4, 1),
     (4, 4, 4, 4, 2), (4, 4, 4, 3), (4, 4, 5), (6, 13), (6, 10), (8, 8), (4, 3, 3, 3), (4, 5, 6),
     (4, 4, 4, 2)]
)  # fmt: skip
_ALL = _COMMON + _RARE
# A prefix of four digits is seldom met by chance.
_NARROW = _COMMON + tuple(issuer for issuer in _RARE if len(issuer[0]) == 4)
_USUAL = frozenset([(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4)])
"""Shapes that are believed among other groups of digits too."""
_RUN = pattern(rf"\d(?:{SEPARATOR}?\d){{12,}}")
_GROUP = re.compile(rb"\d+")
_CARD = (
    r"(?i)(?:card|visa|amex|american express|maestro|rupay|unionpay|karte|carte|tarjeta|cartão|carta|kaart|kort|karta"
    r"|卡|银联|カード|карт|카드|بطاقة|कार्ड|\bpan\b|\bcc\b)"
)
_WORDS = pattern_set((THING, NAMED, _CARD))
_IS_THING, _IS_NAMED, _IS_CARD = range(3)
_CARD_BEHIND = pattern(
    r"(?i)^\W{0,4}(?:exp|cvv|cvc|valid (?:thru|until)|(?:is|was) (?:my|the|his|her|our) (?:\w+ )?card)"
)
_SIGN = pattern(r"[#№$€£¥]\s?$")
_BEHIND = 48
_MOST_DIGITS = 19


def luhn(number: str) -> bool:
    """The check of ISO/IEC 7812-1, annex B."""
    odd = sum(int(c) for c in number[-1::-2])
    even = sum((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[int(c)] for c in number[-2::-2])
    return (odd + even) % 10 == 0


def is_card(number: str, issuers: _Issuers) -> bool:
    """Whether digits alone are a card number: one of these issuers, its length, and Luhn."""
    length = len(number)
    return (
        any(
            low <= number[: len(low)] <= high and length in lengths
            for low, high, lengths in issuers
        )
        and len(set(number)) > 1
        and luhn(number)
    )


def _find_cards(blob: bytes) -> Iterator[Found]:
    position = 0
    while (match := _RUN.search(blob, position)) is not None:
        start, end = match.span()
        position = end
        groups = [(start + m.start(), start + m.end()) for m in _GROUP.finditer(blob[start:end])]
        if _in_a_word(blob, start - 1, start - 2) or blob[start - 1 : start] == b"+":
            groups = groups[1:]
        if _in_a_word(blob, end, end + 1):
            groups = groups[:-1]
        yield from _cards_among(blob, groups)


def _in_a_word(blob: bytes, index: int, beyond: int) -> bool:
    """Whether the digits go on at ``index`` in a word, or in another part of an identifier."""
    if is_word(blob, index):
        return blob[max(beyond, 0) : index + 1] != b"%B"  # a magnetic stripe's first track
    return blob[max(index, 0) : index + 1] in (b"-", b".") and is_word(blob, beyond)


def _cards_among(blob: bytes, groups: list[tuple[int, int]]) -> Iterator[Found]:
    """Cards among neighbouring groups of digits ("12 4111 1111 1111 1111" holds one)."""
    first = 0
    is_row = _is_row(groups)
    while first < len(groups):
        last = _card_at(blob, groups, first, is_row=is_row)
        if last is None:
            first += 1
            continue
        start, end = groups[first][0], groups[last][1]
        yield Found(start, end, digits(blob, start, end))
        first = last + 1


def _card_at(blob: bytes, groups: list[tuple[int, int]], first: int, *, is_row: bool) -> int | None:
    """The last group of the card that begins at group ``first``."""
    number = ""
    shape: list[int] = []
    found: int | None = None
    for last in range(first, len(groups)):
        start, end = groups[last]
        shape.append(end - start)
        if sum(shape) > _MOST_DIGITS:
            break
        number += blob[start:end].decode()
        believed = _SHAPES if len(shape) == len(groups) else _USUAL
        if (
            sum(shape) >= 13
            and (len(shape) == 1 or tuple(shape) in believed)
            and is_card(number, _ALL)
        ):
            found = last
    if found is None or _is_decimal(blob, groups[first : found + 1]):
        return None
    # The month that it expires in may follow a card.
    alone = first == 0 and len(groups) - found <= 2
    among_others = is_row and found > first and not alone
    return found if _is_believed(blob, groups[first : found + 1], is_row=among_others) else None


def _is_row(groups: list[tuple[int, int]]) -> bool:
    """Whether more groups of four stand together than cards are made of."""
    fours = sum(end - start == 4 for start, end in groups)
    return fours > 4 and fours % 4 > 0


def _is_believed(blob: bytes, groups: list[tuple[int, int]], *, is_row: bool) -> bool:
    """One number of ten passes Luhn, so the words around have a say: beside "order" or "tracking"
    it is none. Behind "id", in a row of groups of its size, or with an issuer or a length that is
    rare, it is one only where a card is spoken of.
    """
    start, end = groups[0][0], groups[-1][1]
    context, behind = before(blob, start), blob[end : end + _BEHIND]
    words = _WORDS.Match(context) or ()
    if _IS_THING in words or is_said_of_a_thing(behind):
        return False
    # An amount or a number behind "#" is not written in groups of four.
    signed = len(groups) > 1 and _SIGN.search(context) is not None
    if not is_row and (signed or _IS_NAMED not in words):
        issuers = _COMMON if len(groups) == 1 else _NARROW
        if is_card(digits(blob, start, end), issuers):
            return True
    return _IS_CARD in words or _CARD_BEHIND.search(behind) is not None


def _is_decimal(blob: bytes, groups: list[tuple[int, int]]) -> bool:
    """Digits with a point in front, behind, or once in between, are a number."""
    (start, _), (_, end) = groups[0], groups[-1]
    if len(groups) == 1:
        in_front = blob[start - 1 : start] == b"." and is_digit(blob, start - 2)
        return in_front or (blob[end : end + 1] == b"." and is_digit(blob, end + 1))
    return len(groups) == 2 and b"." in blob[start:end]


# Lengths by country, SWIFT IBAN registry.
_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FI FO GL NL SD FK", "19": "MK SI", "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG DZ", "25": "AO CV GW LY MZ PT ST",
        "26": "IS TR IR", "27": "BI CF CG CM DJ FR GA GR IT KM MC MG MR SM GQ TD",
        "28": "AL AZ BJ BF BY CI CY DO GT HN HU LB MA ML NE NI PL SN SV TG", "29": "BR EG PS QA UA",
        "30": "JO KW MU YE", "31": "MT SC", "32": "LC", "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_BLANK = rf"{SEPARATOR}{{0,2}}"
_IBAN_START = pattern(rf"[A-Za-z]{{2}}[ \-]?\d\d{_BLANK}[A-Za-z0-9]")
_IBAN_TRIGGER = rf"{APART}(?i:{'|'.join(_LENGTHS)})[ \-]?\d\d(?:{_BLANK}[A-Za-z0-9]){{10}}"
_CARD_TRIGGER = rf"(?:{APART}|%B)\d(?:{SEPARATOR}?\d){{12}}"
_BLANKS = pattern(rf"{SEPARATOR}{{1,2}}")


def iban_is_valid(iban: str) -> bool:
    """Mod 97 of ISO 7064 over an upper-case IBAN without blanks."""
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _find_ibans(blob: bytes) -> Iterator[Found]:
    position = 0
    while (match := _IBAN_START.search(blob, position)) is not None:
        start = match.start()
        position = start + 1
        length = _LENGTHS.get(blob[start : start + 2].decode().upper())
        if length is None or is_word(blob, start - 1):
            continue
        taken, end = _take(blob, start, length)
        if taken is None or is_word(blob, end) or not _shaped(blob, start, end, taken):
            continue
        if iban_is_valid(taken):
            position = end
            yield Found(start, end, taken)


def _take(blob: bytes, start: int, length: int) -> tuple[str | None, int]:
    """``length`` letters and digits from ``start`` on, single blanks between them skipped."""
    taken = bytearray()
    index = start
    while len(taken) < length and index < len(blob):
        if is_word(blob, index) and blob[index] != ord("_"):
            taken.append(blob[index])
            index += 1
            continue
        blank = _BLANKS.match(blob, index)
        if blank is None or not is_word(blob, blank.end()):
            return None, index
        index = blank.end()
    return (taken.decode().upper(), index) if len(taken) == length else (None, index)


def _shaped(blob: bytes, start: int, end: int, iban: str) -> bool:
    """Account numbers of letters are rare: they are believed where all are written alike."""
    if not iban[2:4].isdigit():
        return False
    written = blob[start:end]
    if not written[1:3].isalnum() and not written.isupper():
        return False  # "at 15 …" is a preposition
    least = 0 if written.isupper() else 2 if written.islower() else 6
    return sum(c.isdigit() for c in iban[4:]) >= least


RULES: tuple[Rule, ...] = (
    Rule("iban", _IBAN_TRIGGER, _find_ibans),
    Rule("card", _CARD_TRIGGER, _find_cards),
)
