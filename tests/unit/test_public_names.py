"""The names a program imports from ``analect``."""

from __future__ import annotations

import pytest

import analect


def test_every_public_name_is_there() -> None:
    for name in analect.__all__:
        assert getattr(analect, name).__name__ == name
    assert analect.__all__ == sorted(analect.__all__)
    assert set(analect._PLACES) == set(analect.__all__)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError):
        analect.Nothing  # noqa: B018
