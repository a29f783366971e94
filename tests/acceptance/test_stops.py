"""SIGTERM under load: what was acked is stored, what was begun is answered, and it ends well."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests import asking
from tests.acceptance.loading import Load, check_whole, wait_acked
from tests.acceptance.processes import DEADLINE, Place


def test_a_stop_under_load(place: Place) -> None:
    load, stopped = Load(), threading.Event()
    with place.server() as server, ThreadPoolExecutor(load.connections) as pool:
        writers = load.write(server.url, stopped, pool)
        try:
            wait_acked(load, 400)
            asked = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            code = server.process.wait(DEADLINE)
            took = time.monotonic() - asked
        finally:
            stopped.set()
        for writer in writers:
            writer.result(DEADLINE)
        with pytest.raises(httpx.TransportError):
            asking.get(f"{server.url}/healthz")
    assert code == 0
    assert took < 10
    assert set(load.statuses) <= {200, 503}
    assert [line["event"] for line in server.lines()][-1] == "stopped"
    acked = set(load.acked)
    with place.server() as again:
        load.finish(again.url)
        assert acked <= load.acked
        check_whole(again, load)
