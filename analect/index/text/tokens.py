"""How text becomes words: one rule for what is stored and what is asked.

FTS5's ``ascii`` tokenizer makes the words: it splits at every ASCII character that is no letter or
digit, lowers ASCII case, and keeps all else. So ASCII text goes to it as it is, untouched by
Python; other text is first brought by :func:`searchable` into a form it splits rightly:

* compatibility forms are unified (NFKD), case is folded, accents and Arabic vowel signs go;
* letters written in several ways become one (Arabic alef, yeh, teh marbuta; o with a stroke);
* an Arabic word loses its article, and what is written in one with it, as Lucene's Arabic analysis
  has it: who asks for weather finds "the weather", "with the weather" and the other way round;
* scripts written without blanks (Chinese, Japanese, Thai, Lao, Khmer, Burmese), and Korean, whose
  particles stick to the words, become overlapping pairs of characters, and the last character of a
  run follows alone: each character begins a word, so a single one is found as a prefix;
* symbols and emoji become words of their own (``u1f600``), other signs become blanks.

:func:`spans` does the same with the places in the original text, for highlighting.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

VERSION = 2
"""Raise it when the rules change: an index made under other rules must be rebuilt."""

_BASIC = (
    "\u0e01-\u0e7f\u0e81-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30ff\u31f0-\u31ff\u3105-\u312f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
)
_RUN = re.compile(f"[{_BASIC}]+|[\uac00-\ud7a3]+")
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]+"
)
"""Accents and vowel points that a reader may leave out; the vowel signs of Indic scripts stay."""
_OTHER = re.compile(
    r"[^\w\s\x00-\x7f]+|[\x80-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
)
_VARIANTS = str.maketrans(
    {
        "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i",
        "ħ": "h", "ŧ": "t", "\u0671": "\u0627", "\u0649": "\u064a", "\u06cc": "\u064a",
        "\u06a9": "\u0643", "\u0629": "\u0647", "\u06c1": "\u0647", "\u06c0": "\u0647",
        **{chr(0x0660 + digit): str(digit) for digit in range(10)},
        **{chr(0x06F0 + digit): str(digit) for digit in range(10)},
    }
)  # fmt: skip
_HAS_VARIANT = re.compile("[" + "".join(map(chr, _VARIANTS)) + "]")
_TRADE_MARKS = re.compile("[\u2120\u2122]")  # NFKD would glue "sm" and "tm" to the word
_WORD = re.compile(r"[0-9a-z\x80-\U0010ffff]+")
_PIECE = re.compile(r"[0-9A-Za-z\x80-\U0010ffff]+")


_ARTICLE = "(?:[\u0648\u0628\u0643\u0641]?\u0627\u0644|\u0644\u0644)"
"""The article, alone or behind "and", "with", "like" or "so"; "for the" is written as two lam."""
_BEHIND = "[\u0621-\u064a]"
_DEFINITE = re.compile(f"{_ARTICLE}(?={_BEHIND}{{2}})")
_DEFINITES = re.compile(rf"(?<![0-9a-z\x80-\U0010ffff]){_DEFINITE.pattern}")
_BARE = re.compile(f"{_ARTICLE}{_BEHIND}?\\Z")


@dataclass(frozen=True, slots=True)
class Span:
    """A word and the place in the text it came from: ``text[start:end]``.

    ``first_end`` is where the first character of a pair ends, ``end`` for other words.
    """

    word: str
    start: int
    end: int
    first_end: int


def searchable(text: str) -> str:
    """``text`` as FTS5's ``ascii`` tokenizer should see it; ASCII text comes back as it is."""
    if text.isascii():
        return text
    folded = _fold(text)
    if folded.isascii():
        return folded
    paired = _RUN.sub(_pairs, folded)
    return _DEFINITES.sub("", paired) if "\u0644" in paired else paired


def words(text: str) -> list[str]:
    """The words FTS5 makes of ``text``, in order."""
    return _WORD.findall(text.lower() if text.isascii() else searchable(text))


def spans(text: str) -> Iterator[Span]:
    """The same words with their places; ``text`` must be in NFC."""
    for piece in _PIECE.finditer(text):
        if piece[0].isascii():
            yield Span(piece[0].lower(), piece.start(), piece.end(), piece.end())
        else:
            yield from _spans_of_piece(piece[0], piece.start())


def is_unspaced(word: str) -> bool:
    """Whether a word is a character or pair of a script that is indexed in pairs."""
    return _RUN.fullmatch(word) is not None


def is_article(word: str) -> bool:
    """Whether a word is an Arabic article with nothing behind it, or a single letter: what begins
    so begins with something else in the index.
    """
    return _BARE.match(word) is not None


def _fold(text: str) -> str:
    text = unicodedata.normalize("NFKD", _TRADE_MARKS.sub(" ", text)).casefold()
    text = _MARKS.sub("", text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    if _HAS_VARIANT.search(text):
        text = text.translate(_VARIANTS)
    return _OTHER.sub(_replace_signs, text)


def _pairs(match: re.Match[str]) -> str:
    run = match[0]
    pairs = [run[at : at + 2] for at in range(len(run))]  # the last one is a single character
    return f" {' '.join(pairs)} "


def _replace_signs(match: re.Match[str]) -> str:
    return "".join(map(_sign, match[0]))


@lru_cache(maxsize=8192)
def _sign(character: str) -> str:
    """What stands for a character that is neither letter nor digit."""
    category = unicodedata.category(character)
    if category[0] == "M":
        return character
    if category[0] == "S":
        return f" u{ord(character):x} "
    if category == "Cf" and character != "\u200b":  # joiners; the zero-width space does divide
        return ""
    return " "


@lru_cache(maxsize=8192)
def _folded_cluster(cluster: str) -> str:
    return _fold(cluster)


def _clusters(text: str) -> Iterator[tuple[str, int, int]]:
    """Characters with the marks that belong to them."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or unicodedata.category(text[at])[0] != "M":
            yield text[start:at], start, at
            start = at


def _spans_of_piece(piece: str, offset: int) -> Iterator[Span]:
    letters: list[str] = []
    places: list[tuple[int, int]] = []
    for cluster, start, end in _clusters(piece):
        for letter in _folded_cluster(cluster):
            letters.append(letter)
            places.append((offset + start, offset + end))
    folded = "".join(letters)
    for match in _WORD.finditer(folded):
        at = match.start()
        for run in _RUN.finditer(folded, match.start(), match.end()):
            yield from _whole(folded, places, at, run.start())
            for first in range(run.start(), run.end()):
                last = min(first + 1, run.end() - 1)
                yield Span(
                    folded[first : last + 1], places[first][0], places[last][1], places[first][1]
                )
            at = run.end()
        yield from _whole(folded, places, at, match.end())


def _whole(folded: str, places: list[tuple[int, int]], start: int, end: int) -> Iterator[Span]:
    if start < end:
        article = _DEFINITE.match(folded, start, end)
        word = folded[start if article is None else article.end() : end]
        yield Span(word, places[start][0], places[end - 1][1], places[end - 1][1])
