"""The client against a server that answers as it is told."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature

import pytest

from analect.client import AsyncClient, Client, Options
from analect.client.events import EventStream
from analect.client.transport import Address
from analect.client.wire import entry_of, error_of, retry_after
from analect.model.errors import (
    ConfigurationError,
    Conflict,
    InvalidInput,
    NotFound,
    Overloaded,
    PermissionDenied,
    StoreUnavailable,
    TransientError,
)
from analect.model.ids import id_millis, is_record_id
from tests.ports import free_port

AT = 1_751_284_800_123_456
QUICK = Options(max_age=0.01, batch_size=10, close_timeout=5.0)


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.005)


class Scripted:
    """Stores by id; ``script`` holds answers to give first, as (status, headers, body)."""

    def __init__(self):
        self.script = []
        self.stored = {}
        self.batches = []
        self.headers = []
        self.requests = []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                size = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(size)
                with outer.lock:
                    outer.headers.append(dict(self.headers))
                    outer.requests.append((self.command, self.path, body))
                    status, headers, answer = outer.answer(self.command, self.path, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815  (the base's names)

            def log_message(self, *_):
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def answer(self, command, path, body):
        if self.script:
            status, headers, answer = self.script.pop(0)
            return status, headers, json.dumps(answer).encode()
        if command == "POST" and path.startswith("/v1/records"):
            return self.store(json.loads(body))
        return 404, {}, json.dumps({"title": "Not found", "detail": "no such record"}).encode()

    def store(self, records):
        self.batches.append(len(records))
        if any(record.get("name") == "whole" for record in records):
            return 400, {}, b'{"detail": "the batch is wrong"}'
        accepted, rejected = 0, []
        for place, record in enumerate(records):
            if record.get("rating") == 6:
                error = {"code": "invalid", "message": "rating must be 1 to 5", "field": "rating"}
                rejected.append({"index": place, "id": record.get("id"), "error": error})
            else:
                accepted += record["id"] not in self.stored
                self.stored[record["id"]] = record
        found = {
            "accepted": accepted,
            "duplicates": len(records) - accepted - len(rejected),
            "rejected": rejected,
            "ids": [],
        }
        return (200 if len(rejected) < len(records) else 422), {}, json.dumps(found).encode()

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def away():
    """The address of nobody."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = http.server_address[1]
    http.server_close()
    return f"http://127.0.0.1:{port}"


# -- what travels ------------------------------------------------------------------------------


def test_an_id_is_made_of_the_records_time():
    entry = entry_of({"input": "x", "occurred_at": "2025-06-30T12:00:00.123456Z"}, lambda: 0, bytes)
    assert is_record_id(entry.id)
    assert id_millis(entry.id) == AT // 1000
    aware = entry_of({"occurred_at": datetime(2025, 6, 30, 12, tzinfo=UTC)}, lambda: 0, bytes)
    assert id_millis(aware.id) == 1_751_284_800_000
    assert id_millis(entry_of({}, lambda: AT, bytes).id) == AT // 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"colour": 1},
        {"occurred_at": datetime(2025, 6, 30)},  # noqa: DTZ001
        {"occurred_at": "2025-06-30"},
        {"id": "order-17"},
        {"external_id": "order-17"},
        {"input": float("nan")},
        {"input": "\ud800"},
        {"input": object()},
    ],
)
def test_what_cannot_be_stored_is_refused_at_once(fields):
    with pytest.raises(InvalidInput):
        entry_of(fields, lambda: AT, bytes)


def test_errors_have_their_names():
    body = b'{"detail": "slow down", "field": "tags"}'
    error = error_of(429, {"retry-after": "7"}, body)
    assert isinstance(error, Overloaded)
    assert (str(error), error.retry_after) == ("slow down", 7.0)
    assert isinstance(error_of(503, {}, b"<html>"), StoreUnavailable)
    assert isinstance(error_of(500, {}, b""), TransientError)
    assert error_of(422, {}, body).field == "tags"
    assert isinstance(error_of(401, {}, b""), PermissionDenied)
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


def test_an_address_needs_its_scheme():
    with pytest.raises(ConfigurationError):
        Client("127.0.0.1:8080")


# -- writing -----------------------------------------------------------------------------------


def test_records_go_in_batches_with_their_ids(server):
    with Client(server.url, options=QUICK, api_key="k1", defaults={"project": "shop"}) as client:
        ids = [client.log(f"q{n}", "a", tags=["t"]) for n in range(35)]
        assert client.flush(10)
        assert client.counters.accepted == 35
    assert set(server.stored) == set(ids)
    assert server.stored[ids[3]]["project"] == "shop"
    assert max(server.batches) <= 10
    assert server.headers[0]["authorization"] == "Bearer k1"


def test_closing_sends_what_is_queued(server):
    client = Client(server.url, options=Options(max_age=60))
    ids = {client.record(input=n) for n in range(5)}
    assert client.close() == 0
    assert set(server.stored) == ids
    with pytest.raises(InvalidInput, match="closed"):
        client.record(input=1)


@pytest.mark.parametrize(
    "trouble", [(429, {"retry-after": "0"}, {}), (503, {"retry-after": "0"}, {}), (500, {}, {})]
)
def test_a_retry_is_the_same_records(server, trouble):
    server.script = [trouble, trouble]
    with Client(server.url, options=QUICK) as client:
        ids = {client.record(input=n) for n in range(3)}
        assert client.flush(10)
        assert client.counters.retries >= 2
    bodies = [body for _, _, body in server.requests]
    assert bodies[0] == bodies[1] == bodies[2]
    assert set(server.stored) == ids


def test_the_refused_are_named_and_the_others_stored(server):
    refused = []
    with Client(server.url, options=QUICK, on_rejected=refused.append) as client:
        for n in range(5):
            client.record(input=n, rating=6 if n == 3 else 5)
        assert client.flush(10)
        assert (client.counters.accepted, client.counters.rejected) == (4, 1)
    assert [(item.code, item.field, item.record["input"]) for item in refused] == [
        ("invalid", "rating", 3)
    ]


def test_only_refused_is_an_answer_too(server):
    refused = []
    with Client(server.url, options=QUICK, on_rejected=refused.append) as client:
        client.record(rating=6)
        assert client.flush(10)
    assert refused[0].message == "rating must be 1 to 5"


def test_one_that_spoils_the_batch_is_found(server):
    refused = []
    with Client(server.url, options=QUICK, on_rejected=refused.append) as client:
        for n in range(8):
            client.record(input=n, name="whole" if n == 5 else "fine")
        assert client.flush(10)
        assert (client.counters.accepted, client.counters.rejected) == (7, 1)
    assert refused[0].record["input"] == 5


def test_a_wrong_key_rejects_and_says_so(server):
    server.script = [(401, {}, {"detail": "send an API key"})]
    refused = []
    with Client(server.url, options=QUICK, on_rejected=refused.append) as client:
        client.record(input=1)
        assert client.flush(10)
    assert (refused[0].code, refused[0].message) == ("permission_denied", "send an API key")


def test_a_callback_that_fails_stops_nothing(server):
    def failing(_):
        raise RuntimeError

    with Client(server.url, options=QUICK, on_rejected=failing) as client:
        client.record(rating=6)
        client.record(input=1)
        assert client.flush(10)
        assert client.counters.accepted == 1


def test_a_full_queue_raises_or_blocks(away):
    client = Client(away, options=Options(max_queued=2, when_full="raise", close_timeout=0.05))
    client.record(input=1)
    client.record(input=2)
    with pytest.raises(Overloaded):
        client.record(input=3)
    assert not client.flush(0.01)
    assert client.close() == 2
    assert client.counters.unsent == 2


def test_blocked_callers_go_on_when_there_is_room(server):
    options = Options(max_queued=5, batch_size=5, max_age=0.01)
    with Client(server.url, options=options) as client:
        threads = [
            threading.Thread(target=lambda: [client.record(input=n) for n in range(20)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush(10)
    assert len(server.stored) == 80


def test_unsent_records_are_handed_back(away):
    lost = []
    client = Client(
        away, options=Options(max_age=0.01, close_timeout=0.05), on_rejected=lost.append
    )
    client.record(input="kept by the program")
    assert client.close() == 1
    assert [(item.code, item.record["input"]) for item in lost] == [
        ("unsent", "kept by the program")
    ]


def test_the_spool_holds_what_could_not_be_sent_and_the_next_client_sends_it(
    away, server, tmp_path
):
    spool = tmp_path / "spool"
    options = Options(max_age=0.01, batch_size=4, spool_after=0.0)
    client = Client(away, options=options, spool=spool)
    ids = {client.record(input=n) for n in range(10)}
    assert client.flush(10)
    assert client.counters.spooled == 10
    assert client.close() == 0
    assert spool.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in spool.iterdir())
    with Client(server.url, options=options, spool=spool) as successor:
        until(lambda: not list(spool.iterdir()))
        assert successor.counters.accepted == 10
    assert set(server.stored) == ids


def test_what_is_left_at_the_end_goes_to_the_spool(away, tmp_path):
    client = Client(away, options=Options(close_timeout=0.05), spool=tmp_path)
    client.record(input=1)
    assert client.close() == 0
    assert len(list(tmp_path.glob("*.ndjson"))) == 1


def test_the_end_of_the_process_sends_what_is_queued(server):
    program = f"""
from analect.client import Client, Options
client = Client({server.url!r}, options=Options(max_age=60))
client.record(input="last words")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
    assert [record["input"] for record in server.stored.values()] == ["last words"]


def test_forked_processes_have_queues_of_their_own(server):
    program = f"""
import multiprocessing, os
from analect.client import Client, Options
client = Client({server.url!r}, options=Options(max_age=60))

def child():
    client.record(input="child")

client.record(input="parent")
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
assert process.exitcode == 0, process.exitcode
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert sorted(record["input"] for record in server.stored.values()) == ["child", "parent"]
    assert sum(server.batches) == 2


def test_events_are_split_at_line_feeds_only():
    stream = (
        b'retry: 1000\n\n: comment\nid: c1\nevent: put\ndata: {"te',
        'xt": "one\u2028two"}\n\n'.encode(),
        b"id: c2\r\ndata: {}\r\n\r\n",
    )
    events = EventStream()
    found = [event for chunk in stream for event in events.feed(chunk)]
    assert found == [("c1", {"text": "one\u2028two"}), ("c2", {})]


def test_both_clients_are_asked_in_the_same_words():
    def words(client):
        names = [name for name in dir(client) if not name.startswith("_") and name != "counters"]
        return {name: list(signature(getattr(client, name)).parameters) for name in names}

    assert words(Client) == words(AsyncClient)


# -- reading -----------------------------------------------------------------------------------


def test_pages_are_walked_and_filters_travel(server):
    server.script = [
        (200, {}, {"items": [{"id": "a"}], "next": "c1"}),
        (503, {"retry-after": "0"}, {}),
        (200, {}, {"items": [{"id": "b"}], "next": None}),
    ]
    with Client(server.url) as client:
        found = list(
            client.list(
                thread_id="t/1",
                tags=["x", "y"],
                dimensions={"language": "de"},
                success=True,
                since="2025-06-30T12:00:00+02:00",
                page_size=1,
            )
        )
    assert [item["id"] for item in found] == ["a", "b"]
    path = server.requests[0][1]
    for part in (
        "thread=t%2F1",
        "tag=x",
        "tag=y",
        "dim.language=de",
        "success=true",
        "from=2025-06-30T10%3A00%3A00.000000Z",
        "limit=1",
    ):
        assert part in path
    assert "cursor=c1" in server.requests[2][1]


def test_absent_is_not_found_and_not_retried(server):
    with Client(server.url) as client, pytest.raises(NotFound, match="no such record"):
        client.get("0197c0a1-e07b-7000-8000-000000000001")
    assert len(server.requests) == 1


def test_nobody_there_says_what_to_do(away):
    with Client(away, attempts=1) as client, pytest.raises(StoreUnavailable, match="analect serve"):
        client.status()


def test_feedback_is_not_repeated_after_a_broken_answer(server):
    server.script = [(503, {}, {"detail": "busy"})]
    with Client(server.url) as client, pytest.raises(StoreUnavailable):
        client.feedback("r1", rating=5, comment="well done")
    assert json.loads(server.requests[0][2]) == {"rating": 5, "comment": "well done"}


def test_documents_carry_the_version_they_expect(server):
    server.script = [(200, {}, {"version": 2}), (200, {}, {"version": 1}), (204, {}, None)]
    with Client(server.url) as client:
        client.put_document("user", "u 1", {"a": 1}, expected_version=1)
        client.put_document("user", "u2", {"a": 1}, expected_version=0)
    headers = server.headers
    assert headers[0]["if-match"] == '"1"'
    assert headers[1]["if-none-match"] == "*"
    assert server.requests[0][1] == "/v1/documents/user/u%201"


def test_sending_now_keeps_its_ids_through_retries(server):
    server.script = [(503, {"retry-after": "0"}, {})]
    with Client(server.url) as client:
        delivery = client.send([{"input": 1}, {"rating": 6}], wait_indexed=2)
    assert delivery.accepted == 1
    assert delivery.rejected[0].field == "rating"
    assert server.requests[0] == server.requests[1]
    assert server.requests[0][1] == "/v1/records?wait=indexed&timeout=2"


def test_the_same_from_an_event_loop(server):
    async def program():
        async with AsyncClient(server.url, options=QUICK) as client:
            ids = [await client.record(input=n) for n in range(15)]
            assert await client.flush(10)
            server.script = [
                (200, {}, {"items": [{"id": ids[0]}], "next": "c"}),
                (200, {}, {"items": [{"id": ids[1]}], "next": None}),
                (200, {}, {"nodes": []}),
            ]
            found = [item["id"] async for item in client.list(kind="interaction")]
            assert await client.related(ids[0]) == {"nodes": []}
            delivery = await client.send([{"input": "now"}])
            return ids, found, delivery.accepted

    ids, found, accepted = asyncio.run(program())
    assert found == ids[:2]
    assert accepted == 1
    assert len(server.stored) == 16


def test_a_full_queue_makes_the_event_loop_wait_not_fail(server):
    async def program():
        options = Options(max_queued=3, batch_size=3, max_age=0.01)
        async with AsyncClient(server.url, options=options) as client:
            await asyncio.gather(*(client.record(input=n) for n in range(30)))
            assert await client.flush(10)

    asyncio.run(program())
    assert len(server.stored) == 30


# -- a real server -----------------------------------------------------------------------------


class RealServer:
    """`analect serve` on a port of its own, which a restart keeps."""

    def __init__(self, root):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        others = {k: v for k, v in os.environ.items() if not k.startswith("ANALECT_")}
        self.environment = others | {
            "ANALECT_HOME": str(root / "home"),
            "ANALECT_KEYS__RING": str(root / "ring"),
        }
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "analect.cli", "serve", "--port", str(self.port), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
        )
        watchdog = threading.Timer(60, self.process.kill)
        watchdog.start()
        try:
            assert json.loads(self.process.stdout.readline())["url"] == self.url
        finally:
            watchdog.cancel()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def real(tmp_path):
    server = RealServer(tmp_path)
    server.start()
    yield server
    server.kill()


def test_everything_through_a_real_server(real):
    with Client(real.url, options=QUICK, defaults={"project": "shop"}) as client:
        ids = [
            client.log(f"question {n}", f"answer {n}", thread_id="t/1", turn=n, tags=["a b"])
            for n in range(30)
        ]
        assert client.flush(20)
        assert client.counters.accepted == 30
        assert [turn["id"] for turn in client.thread("t/1", page_size=7)] == ids
        found = list(client.list(tags=["a b"], project="shop", page_size=11))
        (group,) = client.aggregate(["project", "month"], tags=["a b"])["items"]
        assert (group["group"]["project"], group["records"]) == ("shop", 30)
        assert [item["id"] for item in found] == sorted(ids, reverse=True)
        delivery = client.send([{"input": "Zauberwürfel"}], wait_indexed=20)
        assert client.search("zauberwurfel")["items"][0]["record"]["id"] == delivery.ids[0]
        assert client.get(delivery.ids[0])["input"] == "Zauberwürfel"
        client.feedback(ids[0], rating=5, comment="good")
        seen = client.changes(limit=1000)
        assert len(seen["items"]) == 32
        assert next(iter(client.tail(client.changes(limit=1)["next"])))["id"]
        assert client.status()["store"]["records"] == 32
        assert client.related(ids[0], depth=1)["nodes"]
        with pytest.raises(NotFound):
            client.get("0197c0a1-e07b-7000-8000-000000000001")
        with pytest.raises(InvalidInput):
            next(client.list(colour="red"))

    async def from_an_event_loop():
        async with AsyncClient(real.url) as client, aclosing(client.tail(seen["next"])) as tail:
            page = await client.list_page(limit=1, tags=["a b"])
            (whole,) = (await client.aggregate(kind="interaction"))["items"]
            assert (whole["group"], whole["records"]) == ({}, 31)
            hits = await client.search("Zauberwürfel", mode="hybrid", limit=1)
            assert hits["items"][0]["record"]["id"] == delivery.ids[0]
            assert page["items"][0]["id"] == max(ids)
            new = await client.record(input="later")
            assert await client.flush(20)
            return new == (await anext(tail))["id"]

    assert asyncio.run(from_an_event_loop())


def test_documents_through_a_real_server(real):
    with Client(real.url) as client:
        made = client.put_document("story", "s/1", {"a": 1}, status="draft", expected_version=0)
        assert made["version"] == 1
        with pytest.raises(Conflict):
            client.put_document("story", "s/1", {"a": 2}, expected_version=0)
        assert client.put_document("story", "s/1", {"a": 2}, expected_version=1)["version"] == 2
        assert client.get_document("story", "s/1", version=1)["body"] == {"a": 1}
        assert [item["id"] for item in client.list_documents("story")] == ["s/1"]
        client.delete_document("story", "s/1")
        with pytest.raises(NotFound):
            client.get_document("story", "s/1")


def test_a_server_that_dies_loses_and_doubles_nothing(real):
    with Client(real.url, options=Options(max_age=0.01, batch_size=20)) as client:
        ids = {client.record(input=f"before {n}") for n in range(200)}
        until(lambda: client.counters.accepted > 0, 30)
        real.kill()
        ids |= {client.record(input=f"while away {n}") for n in range(200)}
        real.start()
        assert client.flush(60)
        assert client.counters.accepted + client.counters.duplicates == 400
        assert {item["id"] for item in client.list()} == ids
        assert client.status()["store"]["records"] == 400


def test_certificates_are_looked_at_where_there_are_any():
    assert Address("https://here").options()["verify"] is True
    assert Address("http://here").options()["verify"] is False
