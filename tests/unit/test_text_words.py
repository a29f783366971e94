import sqlite3
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analect.index.text.expression import parse
from analect.index.text.highlight import snippets
from analect.index.text.tokens import searchable, spans, words
from analect.model.errors import InvalidQuery

TEXTS = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "abcXYZ 012 _.-()<>:\"'éüßøłÅ中国水語カタガーไทยกำ한국العربيةأىَـ🎉€’“ﾀﾞ½™ \u200b\u0301"
        ),
    ),
    max_size=60,
)


def fts5_words(text):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize='ascii')")
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, instance)")
    connection.execute("INSERT INTO t VALUES (?)", (searchable(text),))
    found = [term for (term,) in connection.execute('SELECT term FROM v ORDER BY "offset"')]
    connection.close()
    return found


@given(TEXTS)
@settings(max_examples=300)
def test_our_words_are_those_of_fts5(text):
    assert words(text) == fts5_words(text)


@given(TEXTS)
@settings(max_examples=300)
def test_spans_are_the_same_words_in_their_places(text):
    text = unicodedata.normalize("NFC", text)
    found = list(spans(text))
    assert [span.word for span in found] == words(text)
    for span in found:
        assert 0 <= span.start < span.first_end <= span.end <= len(text)


@given(TEXTS)
@settings(max_examples=300)
def test_words_of_words_are_the_same(text):
    """What was read back from the index is taken out of it by the same words."""
    again = " ".join(fts5_words(text))
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(x, content='', tokenize='ascii')")
    connection.execute("INSERT INTO t (rowid, x) VALUES (1, ?)", (searchable(text),))
    connection.execute("INSERT INTO t (t, rowid, x) VALUES ('delete', 1, ?)", (again,))
    connection.execute("INSERT INTO t (t) VALUES ('optimize')")
    connection.execute("INSERT INTO t (t) VALUES ('integrity-check')")
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, row)")
    assert connection.execute("SELECT * FROM v").fetchall() == []
    connection.close()


@given(TEXTS)
@settings(max_examples=500)
def test_every_expression_is_read_or_refused(text):
    try:
        expression = parse(text)
    except InvalidQuery as error:
        assert error.field == "q"  # noqa: PT017
        return
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(body, labels, tokenize='ascii')")
    connection.execute("SELECT * FROM t WHERE t MATCH ?", (f"body : ({expression.fts5()})",))
    connection.close()


@given(TEXTS, st.integers(0, 59), st.integers(1, 20))
@settings(max_examples=500)
def test_a_phrase_of_whole_pieces_of_a_text_finds_it(text, start, length):
    pieces = text.split()[start : start + length]
    phrase = " ".join(pieces).replace('"', " ")
    try:
        expression = parse(f'"{phrase}"')
    except InvalidQuery:
        return
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(body, labels, tokenize='ascii')")
    connection.execute("INSERT INTO t (body) VALUES (?)", (searchable(text),))
    found = connection.execute(
        "SELECT count(*) FROM t WHERE t MATCH ?", (f"body : ({expression.fts5()})",)
    ).fetchone()
    connection.close()
    assert found == (1,)


@given(TEXTS, TEXTS)
@settings(max_examples=300)
def test_highlights_hold_the_text_and_nothing_else(query, text):
    try:
        expression = parse(query)
    except InvalidQuery:
        return
    for snippet in snippets(expression, text, 3):
        plain = snippet.replace("<em>", "").replace("</em>", "")
        assert "<" not in plain
        assert snippet.count("<em>") == snippet.count("</em>") > 0


def test_an_arabic_word_stands_without_its_article():
    text = "الطقس والطقس بالطقس كالطقس فالطقس للطقس طقس"
    assert words(text) == ["طقس"] * 7
    assert words("الم لله وال 5الطقس") == ["الم", "لله", "وال", "5الطقس"]
    for prefix in ("ال*", "الب*", "والب*"):
        with pytest.raises(InvalidQuery, match="2 letters behind the article"):
            parse(prefix)
    (snippet,) = snippets(parse("طقس"), "كيف الطَّقْس؟", 1)
    assert snippet == "كيف <em>الطَّقْس</em>؟"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("foo bar", '("foo" AND "bar")'),
        ("a OR b c", '("a" OR ("b" AND "c"))'),
        ("(a OR b) c", '(("a" OR "b") AND "c")'),
        ('-"x y" z', '(("z") NOT ("x y"))'),
        ("a -(b OR c)", '(("a") NOT (("b" OR "c")))'),
        ("foo.bar()", '"foo bar"'),
        ("f(x) OR (y", '("f x" OR "y")'),
        ("--verbose", '"verbose"'),
        ("中国", '"中国"'),
        ("中", '"中"*'),
        ('"国 国"', '"国 国"*'),
        ('"喝水 now"', '"喝水 水 now"'),
        ("pre* fix", '("pre"* AND "fix")'),
        ('"one tw"*', '"one tw"*'),
    ],
)
def test_expressions(query, expected):
    assert parse(query).fts5() == expected
