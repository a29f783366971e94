"""Who waits for whom: what processors say they need becomes an order, or is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from analect.model.errors import ConfigurationError
from analect.pipeline.registry import followers


def processors(**needs):
    return {name: SimpleNamespace(name=name, needs=said) for name, said in needs.items()}


def test_who_needs_follows_and_who_needs_none_is_first():
    found = followers(processors(text=("topics",), graph=(), topics=(), notes=("text", "topics")))
    assert found == {"topics": ("text",), "text": ("notes",)}


def test_one_without_the_attribute_needs_none():
    assert followers({"text": SimpleNamespace(name="text")}) == {}


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ({"text": ("topics",)}, "not installed"),
        ({"text": ("topics",), "topics": ("text",)}, "in turn"),
        ({"text": ("one", "two"), "one": (), "two": ()}, "none of these needs the others"),
    ],
)
def test_an_order_that_cannot_be_is_refused(needs, why):
    with pytest.raises(ConfigurationError, match=why) as caught:
        followers(processors(**needs))
    assert caught.value.field.startswith("analect.processors:")
