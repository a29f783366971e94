"""What a person types into a search field, and what FTS5 is asked.

::

    words              every one must be there
    "a phrase"         these words side by side; also any word with signs inside: foo.bar(), a_b
    prefix*            words that begin so (two letters at least)
    -without, NOT x    must not be there
    a OR b             either; OR binds weaker than standing side by side
    (a OR b) c         grouping

Anything else is read as well as it can be, so nothing a person types is a syntax error; only an
expression with nothing to look for is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analect.index.text.tokens import is_article, is_unspaced, words
from analect.model.errors import InvalidQuery

MAX_CHARACTERS = 2000
MAX_TERMS = 64
MAX_NESTING = 16
MIN_PREFIX = 2

_LEXEME = re.compile(r'\s*(?:(?P<minus>-)?(?:(?P<open>\()|"(?P<phrase>[^"]*)"?(?P<star>\*?)))?')


@dataclass(frozen=True, slots=True)
class Term:
    """Words side by side; with ``prefix`` the last one need only begin so."""

    words: tuple[str, ...]
    prefix: bool = False

    def fts5(self) -> str:
        """As FTS5 reads it. Words hold letters and digits only, so quoting them is enough."""
        return f'"{" ".join(self.words)}"' + ("*" if self.prefix else "")

    def terms(self) -> Iterator[Term]:
        """What may be highlighted."""
        yield self


@dataclass(frozen=True, slots=True)
class Every:
    """All ``parts`` and none of ``without``."""

    parts: tuple[Node, ...]
    without: tuple[Node, ...] = ()

    def fts5(self) -> str:
        """As FTS5 reads it."""
        wanted = " AND ".join(part.fts5() for part in self.parts)
        if not self.without:
            return f"({wanted})"
        return f"(({wanted}) NOT ({' OR '.join(part.fts5() for part in self.without)}))"

    def terms(self) -> Iterator[Term]:
        """What may be highlighted."""
        for part in self.parts:
            yield from part.terms()


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of ``parts``."""

    parts: tuple[Node, ...]

    def fts5(self) -> str:
        """As FTS5 reads it."""
        return f"({' OR '.join(part.fts5() for part in self.parts)})"

    def terms(self) -> Iterator[Term]:
        """What may be highlighted."""
        for part in self.parts:
            yield from part.terms()


Node = Term | Every | Either


def parse(query: str) -> Node:
    """The expression a person typed.

    Raises:
        InvalidQuery: it has nothing to look for, is too long, or a prefix is too short.
    """
    if len(query) > MAX_CHARACTERS:
        raise InvalidQuery(f"q has more than {MAX_CHARACTERS} characters", field="q")
    return _Parser(query).whole()


class _Parser:
    def __init__(self, query: str) -> None:
        self._query = query
        self._at = 0
        self._depth = 0
        self._terms = 0

    def whole(self) -> Node:
        node = self._either()
        if node is None:
            raise InvalidQuery("q has nothing to look for: give a word it must hold", field="q")
        return node

    def _either(self) -> Node | None:
        """Alternatives up to the end of the group; the closing bracket is eaten."""
        found: list[Node] = []
        while True:
            node, more = self._every()
            if node is not None:
                found.append(node)
            if not more:
                break
        if len(found) > 1:
            return Either(tuple(found))
        return found[0] if found else None

    def _every(self) -> tuple[Node | None, bool]:
        """What stands side by side up to an OR; whether there was an OR."""
        parts: list[Node] = []
        without: list[Node] = []
        negated = more = False
        while (lexeme := self._next()) is not None:
            if isinstance(lexeme, str):
                if lexeme == "OR":
                    more = True
                    break
                negated = lexeme == "NOT"
                continue
            node, minus = lexeme
            if node is not None:
                (without if minus or negated else parts).append(node)
            negated = False
        if without and not parts:
            raise InvalidQuery(
                "q says only what must not be there: give a word that must", field="q"
            )
        if not parts:
            return None, more
        if len(parts) == 1 and not without:
            return parts[0], more
        return Every(tuple(parts), tuple(without)), more

    def _next(self) -> tuple[Node | None, bool] | str | None:
        """A node and whether it has a minus; an operator; or None at the end of the group."""
        match = _LEXEME.match(self._query, self._at)
        if match is None:  # the pattern matches the empty string
            return None
        self._at = match.end()
        minus = match["minus"] is not None
        if match["open"]:
            return self._group(), minus
        if match["phrase"] is not None:
            return self._term(match["phrase"], prefix=bool(match["star"])), minus
        if self._at >= len(self._query):
            return None
        return self._word()

    def _group(self) -> Node | None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise InvalidQuery(f"q nests deeper than {MAX_NESTING} brackets", field="q")
        return self._either()

    def _word(self) -> tuple[Node | None, bool] | str | None:
        """A word up to a blank; a bracket closes the group unless it was opened in the word."""
        start, inside = self._at, 0
        while self._at < len(self._query):
            character = self._query[self._at]
            if character.isspace() or character == '"':
                break
            if character == "(":
                inside += 1
            elif character == ")":
                if inside == 0 and self._depth > 0:
                    break
                inside = max(0, inside - 1)
            self._at += 1
        text = self._query[start : self._at]
        if not text:  # a closing bracket stands here
            self._at += 1
            self._depth -= 1
            return None
        if text in {"OR", "AND", "NOT"}:
            return text
        minus = text[0] == "-" and text[1:2] not in {"", "-"}
        return self._term(text.removeprefix("-"), prefix=text.endswith("*")), minus

    def _term(self, text: str, *, prefix: bool) -> Node | None:
        found = words(text)
        if not found:
            return None
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise InvalidQuery(f"q has more than {MAX_TERMS} terms", field="q")
        last = found[-1]
        if is_unspaced(last):
            # The text may go on where the question ends: the character that ends a run is not
            # asked for where a pair already says it, and is asked for as a beginning otherwise.
            if len(last) == 1 and len(found) > 1 and _pair_ending_in(last, found[-2]):
                return Term(tuple(found[:-1]))
            return Term(tuple(found), prefix=True)
        if prefix and len(last) < MIN_PREFIX:
            raise InvalidQuery(
                f"a prefix needs at least {MIN_PREFIX} letters before its *", field="q"
            )
        if prefix and is_article(last):
            raise InvalidQuery(
                f"a prefix needs at least {MIN_PREFIX} letters behind the article", field="q"
            )
        return Term(tuple(found), prefix)


def _pair_ending_in(character: str, word: str) -> bool:
    return len(word) == 2 and word[1] == character and is_unspaced(word)
