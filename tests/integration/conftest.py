"""The whole service, on each database, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from analect.cli.session import Session
from analect.service import AnalysisService
from analect.settings import Settings


@pytest.fixture
def settings(store_url: str, tmp_path: Path) -> Settings:
    """A fresh home and ring, and a database of each kind."""
    return Settings(
        home=tmp_path / "home",
        database_url=store_url,
        keys={"ring": tmp_path / "ring"},
        processing={"interval_seconds": 0.05, "backoff_seconds": 0.01},
    )


@pytest.fixture
def service(settings: Settings) -> Iterator[AnalysisService]:
    """Open and processing in the background."""
    with AnalysisService.open(settings) as service:
        service.start()
        yield service


@pytest.fixture(scope="module")
def commands_without_logs() -> Iterator[None]:
    """Commands run in this process, where what they log is no one's: a stream that a runner
    gives them is closed when a later test logs.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "quiet_logs", lambda _: None)
        before = structlog.get_config()
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
        yield
        structlog.configure(**before)
