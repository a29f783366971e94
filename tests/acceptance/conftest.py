"""A folder for real processes, with each kind of database behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.processes import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fresh folder, SQLite."""
    return Place(tmp_path / "place")
