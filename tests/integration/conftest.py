"""The whole service, on each database, in this process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from analect.cli.session import Session
from analect.compat import close_analysis_service, process
from analect.service import AnalysisService
from analect.settings import Objects, Settings
from tests.conftest import fresh_database


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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an object store of this test session's own, in a process of its own."""
    pytest.importorskip("moto", reason="needs the PyPI package moto")
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            yield _address(process, said.fileno())
        finally:
            process.terminate()
            process.wait(20)


def _address(process: subprocess.Popen[bytes], said: int) -> str:
    """Where the server says it listens."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, os.pread(said, 10_000, 0).decode()
        if found := re.search(rb"http://127\.0\.0\.1:\d+", os.pread(said, 10_000, 0)):
            return found[0].decode()
        time.sleep(0.05)
    raise TimeoutError("the object store did not start in time")


@pytest.fixture
def objects(s3_server: str) -> Objects:
    """How that store is reached."""
    return Objects(endpoint=s3_server, access_key_id="key", secret_access_key="secret")


@pytest.fixture
def s3_client(s3_server: str) -> Any:
    """Amazon's own client of it, for what a test does besides."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=s3_server,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )


@pytest.fixture
def bucket(s3_client: Any) -> str:
    """The address of a fresh bucket."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def backed(settings: Settings, tmp_path: Path) -> Iterator[Any]:
    """A store with a few records and a document, and a folder for its backups."""
    from tests.integration.backing_up import Backed, drafts

    with AnalysisService.open(settings) as service:
        service.ingest(drafts(5, subject="anna", thread_id="one"))
        service.ingest(drafts(7, subject="boris", session_id="two"))
        service.put_document("story", "s1", {"title": "once"})
    backed = Backed(settings, tmp_path / "backups")
    yield backed
    backed.engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/elsewhere/analect.db"
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.fixture
def older_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """The environment of a program that calls :mod:`analect.compat`; call it with the name of the
    variable that says where its data is.
    """
    for name in [name for name in os.environ if name.startswith("ANALECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANALECT_KEYS__RING", str(tmp_path / "ring"))
    configured = structlog.is_configured()
    yield lambda variable: monkeypatch.setenv(variable, str(tmp_path / "home"))
    close_analysis_service()
    process.close_all()
    if not configured:
        structlog.reset_defaults()
