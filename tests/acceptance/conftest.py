"""A folder for real processes, with each kind of database behind it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.processes import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fresh folder, SQLite."""
    return Place(tmp_path / "place")


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all these programs keep their modules compiled: halves what each takes to start. Where
    the environment names a folder, others have filled it already.
    """
    named = os.environ.get("PYTHONPYCACHEPREFIX")
    return Path(named) if named else tmp_path_factory.mktemp("bytecode")
