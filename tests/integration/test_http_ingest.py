"""``POST /v1/records``: its forms, what is refused, and what a refusal says."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import zstandard

from analect.model.errors import StoreUnavailable
from analect.model.ids import EARLIEST, new_id
from analect.model.record import IngestResult
from analect.service import Health
from analect.store.company import Company
from analect.telemetry.metrics import Telemetry
from tests.integration.http_serving import running, settings_in, wait_for

JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(settings_in(tmp_path_factory.mktemp("ingest"))) as server:
        yield server


@pytest.fixture(scope="module")
def http(server):
    return server.client


def _post(http, body, headers=JSON, **params):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post("/v1/records", content=content, headers=headers, params=params)


def test_one_record_comes_back_as_it_went(http):
    sent = {
        "kind": "llm_call",
        "occurred_at": "2025-06-30T14:00:00.123456+02:00",
        "external_id": "call-1",
        "thread_id": "thread-one",
        "model": "m-1",
        "success": True,
        "duration_ms": 12.5,
        "tags": ["a", "b"],
        "dimensions": {"language": "de"},
        "measures": {"citations": 2},
        "input": {"messages": [{"role": "user", "content": "Grüße, 你好"}]},
        "output": "fine",
    }
    answer = _post(http, sent)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["accepted"], body["duplicates"], body["rejected"]) == (1, 0, [])
    (record_id,) = body["ids"]
    record = http.get(f"/v1/records/{record_id}").json()
    assert record["occurred_at"] == "2025-06-30T12:00:00.123456Z"
    for name in sent.keys() - {"occurred_at"}:
        assert record[name] == sent[name], name
    again = _post(http, sent).json()
    assert (again["accepted"], again["duplicates"], again["ids"]) == (0, 1, [record_id])


def test_an_array_and_lines_are_taken_alike(http):
    items = [{"input": f"number {n}", "thread_id": "forms"} for n in range(3)]
    assert _post(http, items).json()["accepted"] == 3
    lines = b"\n\n".join(json.dumps(item).encode() for item in items) + b"\n"
    assert _post(http, lines, LINES).json()["accepted"] == 3
    assert len(http.get("/v1/threads/forms").json()["items"]) == 6
    assert _post(http, []).json() == {"accepted": 0, "duplicates": 0, "rejected": [], "ids": []}


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_packed_bodies(http, name):
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress}[name]
    packed = {**JSON, "content-encoding": name}
    assert _post(http, pack(b'{"input":"packed"}'), packed).json()["accepted"] == 1
    bomb = _post(http, pack(b" " * (65 * MIB)), packed)
    assert bomb.status_code == 413
    cut = _post(http, pack(b'{"input":"packed"}')[:-2], packed)
    assert cut.status_code == 400


def test_the_good_of_a_batch_are_stored_and_the_bad_are_named(http):
    items = [
        {"input": "good", "thread_id": "partial"},
        {"rating": 6, "thread_id": "partial"},
        {"colour": "red", "thread_id": "partial"},
        {"input": "good too", "thread_id": "partial"},
    ]
    answer = _post(http, items)
    assert answer.status_code == 200
    body = answer.json()
    assert body["accepted"] == 2
    assert [(one["index"], one["field"]) for one in body["rejected"]] == [
        (1, "rating"),
        (2, "colour"),
    ]
    assert [id_ is None for id_ in body["ids"]] == [False, True, True, False]
    inputs = [one["input"] for one in http.get("/v1/threads/partial").json()["items"]]
    assert sorted(inputs) == ["good", "good too"]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ('{"rating":6}', "rating"),
        ('{"confidence":1.5}', "confidence"),
        ('{"input_tokens":-1}', "input_tokens"),
        ('{"turn":"one"}', "turn"),
        ('{"success":"yes"}', "success"),
        ('{"kind":"Not A Kind"}', "kind"),
        ('{"thread_id":7}', "thread_id"),
        ('{"cost":NaN}', "cost"),
        ('{"input":NaN}', "input"),
        ('{"input":1e999}', "input"),
        ('{"input":99999999999999999999999}', "input"),
        ('{"input":1,"input":2}', "input"),
        ('{"colour":1}', "colour"),
        ('{"occurred_at":"2025-06-30T12:00:00"}', "occurred_at"),
        ('{"occurred_at":"1999-12-31T23:59:59Z"}', "occurred_at"),
        ('{"occurred_at":"2999-01-01T00:00:00Z"}', "occurred_at"),
        ('{"external_id":"mine"}', "occurred_at"),
        ('{"id":"mine"}', "occurred_at"),
        ('{"thread_id":"a\\u0000b"}', "thread_id"),
        ('{"thread_id":"a\\ud800b"}', "thread_id"),
        ('{"input":"a\\u0000b"}', "input"),
        ('{"input":{"a":["\\udfff"]}}', "input"),
        ('{"variables":{"\\ud800":1}}', "variables"),
        ('{"attributes":' + '{"a":' * 100 + "1" + "}" * 101, "attributes"),
        ('{"tags":["' + "x" * 300 + '"]}', "tags"),
        ('{"measures":{"a":"b"}}', "measures"),
        (
            f'{{"id":"{new_id(EARLIEST, bytes)}","occurred_at":"2025-06-30T12:00:00Z"}}',
            "id",
        ),
    ],
)
def test_bad_items_are_named_and_not_stored(http, item, field):
    before = http.get("/v1/changes", params={"limit": 1000}).json()
    answer = _post(http, item.encode())
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["rejected"][0]["field"].split(".")[0].split("[")[0] == field
    assert field in body["rejected"][0]["error"]
    assert body["accepted"] == 0
    after = http.get("/v1/changes", params={"after": before["next"]}).json()
    assert after["items"] == []


def test_the_same_id_with_other_content_is_a_conflict(http):
    item = {"external_id": "twice", "occurred_at": "2025-06-30T12:00:00Z", "input": "one"}
    assert _post(http, item).status_code == 200
    answer = _post(http, {**item, "input": "two"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "conflict"
    mixed = _post(http, [{**item, "input": "two"}, {"input": "other"}]).json()
    assert mixed["accepted"] == 1
    assert mixed["rejected"][0]["code"] == "conflict"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b'{"input":', 400),
        (b"7", 400),
        (b'{"input":"\xff"}', 400),
        (b"[" * 5000, 400),
        (b'{"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b"[" + b"{}," * 10_000 + b"{}]", 413),
        (b'{"output":"' + b"x" * (20 * MIB) + b'"}', 413),
    ],
)
def test_bad_bodies(http, body, status):
    answer = _post(http, body)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_field_that_is_too_large_is_named(http):
    answer = _post(http, [{"input": "small"}, {"output": "x" * (20 * MIB)}])
    assert answer.status_code == 200
    (rejected,) = answer.json()["rejected"]
    assert (rejected["index"], rejected["field"], rejected["code"]) == (1, "output", "too_large")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "br"},
    ],
)
def test_wrong_types_are_415(http, headers):
    assert http.post("/v1/records", content=b"{}", headers=headers).status_code == 415


def test_wrong_options_are_named(http):
    for params, named in (
        ({"wait": "soon"}, "wait"),
        ({"timeout": "-1"}, "timeout"),
        ({"omit": "all"}, "omit"),
        ({"dedupe": "yes"}, "dedupe"),
        ({"colour": "red"}, "(unknown)"),
        ({"wait": ["indexed"] * 20}, "wait"),
    ):
        answer = _post(http, {}, **params)
        assert answer.status_code == 400
        assert answer.json()["field"] == named


def test_waiting_for_the_indexes_makes_it_findable(http):
    answer = _post(http, {"input": "a rare marmalade"}, wait="indexed", timeout=10).json()
    assert answer["indexed"] is True
    found = http.get("/v1/search", params={"q": "marmalade"}).json()["items"]
    assert [hit["record"]["id"] for hit in found] == answer["ids"]


def test_the_payload_may_be_left_out_and_content_deduped(http):
    (record_id,) = _post(http, {"input": "unkept", "model": "m"}, omit="payload").json()["ids"]
    record = http.get(f"/v1/records/{record_id}").json()
    assert record["model"] == "m"
    assert "input" not in record
    first = _post(http, {"input": "the very same"}, dedupe="content").json()
    second = _post(http, {"input": "the very same"}, dedupe="content").json()
    assert (second["accepted"], second["duplicates"]) == (0, 1)
    assert second["ids"] == first["ids"]


def test_a_body_longer_than_allowed_is_refused_before_it_is_read(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 999999999999\r\n\r\n"
        )
        assert b" 413 " in connection.recv(100)


def test_a_body_that_ends_too_early_stores_nothing(server):
    before = server.client.get("/v1/status").json()["store"]["records"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"input":"cut"}'
        )
    wait_for(lambda: _refused(server, "disconnected"))
    assert server.client.get("/v1/status").json()["store"]["records"] == before


def test_bodies_without_a_length_are_bounded_too(http):
    def pieces():
        for _ in range(66):
            yield b" " * MIB

    answer = http.post("/v1/records", content=pieces(), headers=JSON)
    assert answer.status_code == 413
    answer = http.post("/v1/records", content=iter([b'{"input":', b'"pieces"}']), headers=JSON)
    assert answer.json()["accepted"] == 1


def _refused(server, reason):
    text = server.client.get("/metrics").text
    return f'analect_http_refusals_total{{reason="{reason}"}}' in text


@dataclass
class SlowService:
    """A store whose commits wait for ``gate``, or that is ``down``."""

    gate: threading.Event = field(default_factory=threading.Event)
    telemetry: Telemetry = field(default_factory=Telemetry)
    company: Company = field(default_factory=Company)
    down: bool = False
    entered: int = 0

    def submit(self, drafts: Any, **_options: Any) -> Future[IngestResult]:
        if self.down:
            raise StoreUnavailable("the database does not answer; try again", retry_after=2)
        self.entered += 1
        answer: Future[IngestResult] = Future()
        ids = tuple(new_id(EARLIEST, bytes) for _ in drafts)

        def settle() -> None:
            self.gate.wait(20)
            answer.set_result(IngestResult(len(ids), 0, (), ids))

        threading.Thread(target=settle, daemon=True).start()
        return answer

    def health(self) -> Health:
        return Health(not self.down, ("the database does not answer",) if self.down else ())

    def on_commit(self, _listener: Any) -> None:
        """Nothing is ever committed."""


def test_more_bytes_than_may_be_in_flight_are_turned_away(tmp_path):
    service = SlowService()
    settings = settings_in(tmp_path, http={"max_inflight_bytes": 1000})
    with running(settings, service) as server:
        url = f"{server.url}/v1/records"
        answers: list[httpx.Response] = []
        big = json.dumps({"input": "x" * 800}).encode()

        def first() -> None:
            answers.append(httpx.post(url, content=big, headers=JSON, timeout=20))

        thread = threading.Thread(target=first)
        thread.start()
        wait_for(lambda: service.entered == 1)
        refused = _post(server.client, big)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["code"] == "overloaded"
        service.gate.set()
        thread.join(20)
        assert answers[0].json()["accepted"] == 1
        assert _post(server.client, big).status_code == 200


def test_a_request_has_its_deadline(tmp_path):
    service = SlowService()
    with running(settings_in(tmp_path, http={"deadline_seconds": 0.2}), service) as server:
        answer = _post(server.client, {"input": "slow"})
        service.gate.set()
    assert answer.status_code == 503
    assert answer.json()["code"] == "deadline_exceeded"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_store_that_is_down_is_503_and_not_ready_and_both_come_back(tmp_path):
    service = SlowService()
    service.gate.set()
    with running(settings_in(tmp_path), service) as server:
        service.down = True
        answer = _post(server.client, {"input": "x"})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        refused = server.client.get("/readyz")
        assert refused.status_code == 503
        assert refused.json()["reasons"] == ["the database does not answer"]
        assert server.client.get("/healthz").status_code == 200
        service.down = False
        wait_for(lambda: server.client.get("/readyz").status_code == 200)
        assert _post(server.client, {"input": "x"}).status_code == 200


def test_requests_under_way_are_answered_when_the_server_stops(tmp_path):
    service = SlowService()
    settings = settings_in(tmp_path, http={"shutdown_seconds": 0.4})
    with running(settings, service) as server:
        answers: list[httpx.Response] = []

        def post() -> None:
            answers.append(httpx.post(f"{server.url}/v1/records", json={"input": "x"}, timeout=20))

        thread = threading.Thread(target=post)
        thread.start()
        wait_for(lambda: service.entered == 1)
        server.app.state.serving.stop()
        wait_for(lambda: server.client.get("/readyz").status_code == 503)
        late = _post(server.client, {"input": "late"})
        assert late.status_code == 503
        thread.join(20)
        service.gate.set()
        assert answers[0].status_code == 503
        assert answers[0].json()["code"] == "deadline_exceeded"
