"""The live feed, and a real process that is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from analect_ingest import tail
from tests import asking
from tests.integration.http_serving import DEADLINE, running, settings_in, wait_for

SERVE = """
import sys
from analect.settings import Settings
from analect_ingest.server import run
run(Settings(), on_ready=lambda address: print(address, flush=True))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(settings_in(tmp_path_factory.mktemp("streams"))) as server:
        yield server


def _events(lines):
    """(id, event, data) of a stream's lines, as they come."""
    event = {}
    for line in lines:
        if not line:
            if "data" in event:
                yield event["id"], event["event"], json.loads(event["data"])
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value


def _next(events):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(next, events).result(DEADLINE)


def test_what_is_committed_is_seen_and_a_broken_stream_goes_on(server):
    post = server.client.post
    post("/v1/records", json={"input": "before"})
    with httpx.stream("GET", f"{server.url}/v1/tail", timeout=DEADLINE) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = _events(stream.iter_lines())
        (first,) = post("/v1/records", json={"input": "first"}).json()["ids"]
        cursor, kind, change = _next(events)
        assert kind == "put"
        assert change["id"] == first
        assert change["record"]["input"] == "first"
    (second,) = post("/v1/records", json={"input": "second"}).json()["ids"]
    headers = {"last-event-id": cursor}
    with httpx.stream("GET", f"{server.url}/v1/tail", headers=headers, timeout=DEADLINE) as stream:
        assert _next(_events(stream.iter_lines()))[2]["id"] == second


def test_a_wrong_cursor_is_refused_before_the_stream_begins(server):
    answer = server.client.get("/v1/tail", headers={"last-event-id": "nonsense"})
    assert answer.status_code == 400


def test_streams_are_bounded_and_given_back(server, monkeypatch):
    monkeypatch.setattr(tail, "MOST_STREAMS", 1)
    with httpx.stream("GET", f"{server.url}/v1/tail", timeout=DEADLINE) as stream:
        lines = stream.iter_lines()  # kept: httpx ends the stream with its iterator
        next(lines)
        assert server.client.get("/v1/tail").status_code == 429
    wait_for(lambda: _stream_status(server) == 200)


def _stream_status(server):
    with httpx.stream("GET", f"{server.url}/v1/tail", timeout=DEADLINE) as stream:
        return stream.status_code


def test_a_silent_stream_shows_that_it_lives(server, monkeypatch):
    monkeypatch.setattr(tail, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(tail, "HEARTBEAT_SECONDS", 0.1)
    with httpx.stream("GET", f"{server.url}/v1/tail", timeout=DEADLINE) as stream:
        lines = stream.iter_lines()
        assert any(line.startswith(":") for line in lines)


def test_streams_end_when_the_server_stops(tmp_path):
    with (
        running(settings_in(tmp_path)) as server,
        httpx.stream("GET", f"{server.url}/v1/tail", timeout=DEADLINE) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        server.app.state.serving.stop()
        assert [line for line in lines if line.startswith("data")] == []


def _started(tmp_path, **changes):
    environment = {
        **os.environ,
        "ANALECT_HOME": str(tmp_path / "home"),
        "ANALECT_KEYS__RING": str(tmp_path / "ring"),
        "ANALECT_INDEX__VECTORS": "false",
        "ANALECT_HTTP__PORT": "0",
        **changes,
    }
    return subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_under_load_ends_well_and_loses_nothing_acked(tmp_path):
    process = _started(tmp_path)
    drain = ThreadPoolExecutor(1)
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        log = drain.submit(process.stderr.read)
        acked, stopped, enough = [], threading.Event(), threading.Event()

        def load(number):
            with asking.client(url, timeout=DEADLINE) as client:
                while not stopped.is_set():
                    try:
                        answer = client.post("/v1/records", json=[{"input": f"load {number}"}] * 20)
                    except httpx.TransportError:
                        return
                    if answer.status_code != 200:
                        assert answer.status_code == 503
                        return
                    acked.extend(answer.json()["ids"])
                    if len(acked) > 400:
                        enough.set()

        with ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(load, number) for number in range(4)]
            assert enough.wait(DEADLINE)
            process.send_signal(signal.SIGTERM)
            code = process.wait(10)
            stopped.set()
            for one in loads:
                one.result(DEADLINE)
        assert code == 0
        lines = [json.loads(line) for line in log.result(DEADLINE).splitlines()]
        assert lines[-1]["event"] == "stopped"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        drain.shutdown()
    from analect.service import AnalysisService

    settings = settings_in(tmp_path)
    with closing(AnalysisService.open(settings)) as service:
        missing = [id_ for id_ in acked if service.get(id_).id != id_]
    assert not missing


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"ANALECT_HTTP__HOST": "0.0.0.0"}, "http.host"),
        ({"ANALECT_API_KEYS": "not-a-hash"}, "api_keys"),
        ({"ANALECT_HTTP__HOST": "203.0.113.1", "ANALECT_API_KEYS": "sha256:" + "0" * 64}, "listen"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path, changes, setting):
    process = _started(tmp_path, **changes)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "ConfigurationError" in errors
    assert setting in errors
