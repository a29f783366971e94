"""Bad input over real HTTP: a clear 4xx that names the field, and nothing stored."""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from analect.model.ids import EARLIEST, new_id
from tests.acceptance.processes import Place, Server, wait_for

JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
MIB = 1024 * 1024
KNOWN = {"external_id": "known", "occurred_at": "2025-06-30T12:00:00Z", "input": "as it was"}
OTHERS = [{"kind": kind, "thread_id": "t"} for kind in ("task", "event") for _ in range(3)]
THERE = 1 + len(OTHERS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = Place(tmp_path_factory.mktemp("bad") / Path("place"))
    with place.server() as server:
        server.http.post("/v1/records", json=[KNOWN, *OTHERS]).raise_for_status()
        server.settle()
        yield server


@pytest.fixture(autouse=True)
def _nothing_is_stored(server: Server) -> Iterator[None]:
    """After every test there is what was there before, and the server is well."""
    yield
    status = server.settle()
    assert status["store"]["records"] == THERE
    assert all(one["records"] == THERE for one in status["indexes"].values())
    assert len(server.http.get("/v1/changes").json()["items"]) == THERE
    assert server.http.get("/v1/documents/story").json()["items"] == []
    assert server.ready()


def test_not_the_form(server: Server) -> None:
    """Bodies that are no records at all."""
    for body, status in (
        (b"", 400),
        (b"not json", 400),
        (b"<record/>", 400),
        (b'{"input": "cut', 400),
        (b'{"input": 1,}', 400),
        (b"{'input': 1}", 400),
        (b'{"input": 1} {"input": 2}', 400),
        (b"null", 400),
        (b'"text"', 400),
        (b"\xff\xfe{\x00}\x00", 400),
        (b'{"input": "\xc3\x28"}', 400),
        (b"[" * 100_000, 400),
        (b"[[]]", 422),
        (b"[null]", 422),
    ):
        answer = server.http.post("/v1/records", content=body, headers=JSON)
        check_problem(answer, status)


DEEP = '{"a":' * 100 + "1" + "}" * 100
AHEAD = (datetime.now(UTC) + timedelta(days=2)).isoformat()


@pytest.mark.parametrize(
    ("item", "field"),
    [
        # wrong types
        ('{"kind": 7}', "kind"),
        ('{"thread_id": ["a"]}', "thread_id"),
        ('{"session_id": {"a": 1}}', "session_id"),
        ('{"success": "true"}', "success"),
        ('{"success": 1}', "success"),
        ('{"turn": 1.5}', "turn"),
        ('{"turn": true}', "turn"),
        ('{"duration_ms": "12"}', "duration_ms"),
        ('{"tags": "a"}', "tags"),
        ('{"tags": [1]}', "tags"),
        ('{"dimensions": ["a"]}', "dimensions"),
        ('{"dimensions": {"a": 1}}', "dimensions"),
        ('{"measures": {"a": "1"}}', "measures"),
        ('{"measures": {"a": true}}', "measures"),
        ('{"occurred_at": 1751284800}', "occurred_at"),
        # unknown fields
        ('{"colour": "red"}', "colour"),
        ('{"Input": "x"}', "Input"),
        ('{"received_at": "2025-06-30T12:00:00Z"}', "received_at"),
        # numbers that are none, or too huge
        ('{"cost": NaN}', "cost"),
        ('{"cost": Infinity}', "cost"),
        ('{"cost": 1e999}', "cost"),
        ('{"input": [NaN]}', "input"),
        ('{"attributes": {"a": -Infinity}}', "attributes"),
        ('{"measures": {"a": 1e400}}', "measures"),
        (f'{{"input_tokens": {10**30}}}', "input_tokens"),
        (f'{{"turn": {2**63}}}', "turn"),
        (f'{{"input": {10**400}}}', "input"),
        # out of range
        ('{"input_tokens": -1}', "input_tokens"),
        ('{"output_tokens": -1}', "output_tokens"),
        ('{"duration_ms": -0.5}', "duration_ms"),
        ('{"rating": 6}', "rating"),
        ('{"rating": 0}', "rating"),
        ('{"confidence": 1.5}', "confidence"),
        ('{"confidence": -0.1}', "confidence"),
        # 100 deep
        (f'{{"input": {DEEP}}}', "input"),
        (f'{{"attributes": {DEEP}}}', "attributes"),
        (f'{{"output": {"[" * 100}{"]" * 100}}}', "output"),
        # lone surrogates and NUL
        (r'{"input": "a\ud800b"}', "input"),
        (r'{"name": "\udc00"}', "name"),
        (r'{"tags": ["\ud83d"]}', "tags"),
        (r'{"variables": {"\ud800": 1}}', "variables"),
        (r'{"input": "a\u0000b"}', "input"),
        (r'{"output": ["\u0000"]}', "output"),
        (r'{"attributes": {"a\u0000": 1}}', "attributes"),
        (r'{"thread_id": "a\u0000"}', "thread_id"),
        (r'{"dimensions": {"a": "\u0000"}}', "dimensions"),
        (r'{"external_id": "\u0000", "occurred_at": "2025-06-30T12:00:00Z"}', "external_id"),
        # times
        ('{"occurred_at": "2025-06-30T12:00:00"}', "occurred_at"),
        ('{"occurred_at": "2025-06-30"}', "occurred_at"),
        ('{"occurred_at": "yesterday"}', "occurred_at"),
        ('{"occurred_at": "2025-02-30T12:00:00Z"}', "occurred_at"),
        ('{"occurred_at": "1999-12-31T23:59:59Z"}', "occurred_at"),
        ('{"occurred_at": "0001-01-01T00:00:00+14:00"}', "occurred_at"),
        ('{"occurred_at": "9999-12-31T23:59:59-14:00"}', "occurred_at"),
        (json.dumps({"occurred_at": AHEAD}), "occurred_at"),
        # ids
        ('{"external_id": "mine"}', "occurred_at"),
        ('{"id": "mine"}', "occurred_at"),
        (
            json.dumps({"id": new_id(EARLIEST, bytes), "occurred_at": "2025-06-30T12:00:00Z"}),
            "id",
        ),
        (json.dumps({**KNOWN, "input": "other content"}), "id"),
        # too long
        (json.dumps({"tags": ["x" * 257]}), "tags"),
        (json.dumps({"tags": [f"t{n}" for n in range(65)]}), "tags"),
        (json.dumps({"thread_id": "x" * 257}), "thread_id"),
        (json.dumps({"dimensions": {f"d{n}": "x" for n in range(17)}}), "dimensions"),
        (json.dumps({"measures": {f"m{n}": 1 for n in range(33)}}), "measures"),
    ],
    ids=lambda value: value.replace(AHEAD, "ahead")[:60],
)
@pytest.mark.parametrize("form", ["object", "array", "lines"])
def test_bad_items(server: Server, item: str, field: str, form: str) -> None:
    body, headers = {
        "object": (item, JSON),
        "array": (f"[{item}]", JSON),
        "lines": (f"{item}\n", LINES),
    }[form]
    answer = server.http.post("/v1/records", content=body.encode(), headers=headers)
    problem = check_problem(answer, 422)
    assert named(problem["field"]) == field
    (rejected,) = problem["rejected"]
    assert named(rejected["field"]) == field
    assert field in rejected["error"]
    assert rejected["index"] == 0
    assert (problem["accepted"], problem["duplicates"], problem["ids"]) == (0, 0, [None])


def named(path: str) -> str:
    """The field that a path begins with."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def test_a_field_of_20_megabytes(server: Server) -> None:
    for item, field in (
        ({"output": "x" * 20 * MIB}, "output"),
        ({"thread_id": "a", "attributes": {"deep": ["x" * 20 * MIB]}}, "attributes"),
    ):
        answer = server.http.post("/v1/records", json=item)
        assert named(check_problem(answer, 413)["field"]) == field


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_bombs_and_broken_packing(server: Server, name: str) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress}[name]
    packed = {**JSON, "content-encoding": name}
    bomb = pack(b'{"input":"' + b"x" * (200 * MIB) + b'"}')
    assert len(bomb) < MIB
    check_problem(server.http.post("/v1/records", content=bomb, headers=packed), 413)
    nested = pack(pack(b" " * (100 * MIB)))
    check_problem(server.http.post("/v1/records", content=nested, headers=packed), 400)
    good = pack(b'{"input":"packed"}')
    for broken in (good[:-3], good[:5], b"", b"plain", good + b"tail"):
        answer = server.http.post("/v1/records", content=broken, headers=packed)
        check_problem(answer, 400)
    raw = zlib.compress(b"{}")
    check_problem(server.http.post("/v1/records", content=raw, headers=packed), 400)


def test_wrong_content_types(server: Server) -> None:
    for headers in (
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/xml"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {**JSON, "content-encoding": "br"},
        {**JSON, "content-encoding": "gzip, gzip"},
    ):
        answer = server.http.post("/v1/records", content=b"{}", headers=headers)
        assert check_problem(answer, 415)["field"].lower().startswith("content-")


CUT = b'{"input":"cut off"}'
CUT_CHUNK = b"%x\r\n%s\r\n" % (len(CUT), CUT)


@pytest.mark.parametrize(
    ("head", "sent"),
    [
        (b"Content-Length: 100", CUT),
        (b"Content-Length: 100", b""),
        (b"Content-Length: 100\r\nContent-Encoding: gzip", gzip.compress(CUT, mtime=0)),
        (b"Content-Length: 100\r\nExpect: 100-continue", b""),
        (b"Transfer-Encoding: chunked", CUT_CHUNK),
        (b"Transfer-Encoding: chunked", CUT_CHUNK[:-5]),
        (b"Transfer-Encoding: chunked", b""),
    ],
)
@pytest.mark.parametrize("call", [b"POST /v1/records", b"PUT /v1/documents/story/x"])
def test_a_body_cut_off_is_answered(server: Server, call: bytes, head: bytes, sent: bytes) -> None:
    with connection(server) as wire:
        wire.sendall(request_head(head, call) + sent)
        wire.shutdown(socket.SHUT_WR)
        problem = check_problem(whole_answer(wire), 400)
    assert problem["field"] == "body"
    assert "broke off" in problem["detail"]


def test_a_caller_that_stops_talking_still_hears(server: Server) -> None:
    body = b'{"input": 1}'
    with connection(server) as wire:
        wire.sendall(
            request_head(b"Content-Length: %d" % len(body), b"POST /v1/records?wait=x") + body
        )
        wire.shutdown(socket.SHUT_WR)
        assert check_problem(whole_answer(wire), 400)["field"] == "wait"


@pytest.mark.parametrize("head", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_connection_reset_in_a_body_stores_nothing(server: Server, head: bytes) -> None:
    before = writes_ended(server)
    with connection(server) as wire:
        wire.sendall(request_head(head) + (CUT if b"Length" in head else CUT_CHUNK))
        # closed with data unsent to an impatient end: a reset in place of a farewell
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: writes_ended(server) > before)
    assert server.status()["store"]["records"] == THERE


def writes_ended(server: Server) -> float:
    """Requests to store records that the server is done with, whatever came of them."""
    counts = re.findall(
        r'^analect_http_request_seconds_count\{method="POST",route="/v1/records",.*\} (\S+)$',
        server.http.get("/metrics").text,
        re.MULTILINE,
    )
    return sum(map(float, counts))


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1",
        b"Content-Length: ten",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\n\r\nnot a size",
    ],
)
def test_heads_that_lie(server: Server, head: bytes) -> None:
    with connection(server) as wire:
        wire.sendall(request_head(head) + b"{}")
        wire.shutdown(socket.SHUT_WR)
        check_problem(whole_answer(wire), 400)


def whole_answer(wire: socket.socket) -> httpx.Response:
    """What the server says before it closes."""
    said = b"".join(iter(lambda: wire.recv(65536), b""))
    head, _, body = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


def request_head(line: bytes, call: bytes = b"POST /v1/records") -> bytes:
    return call + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + line + b"\r\n\r\n"


def connection(server: Server) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_wrong_questions(server: Server) -> None:
    cursor = "AAAA"
    for path, field in (
        ("/v1/records?limit=0", "limit"),
        ("/v1/records?limit=1001", "limit"),
        ("/v1/records?limit=x", "limit"),
        ("/v1/records?colour=red", "colour"),
        ("/v1/records?from=2025-06-30T12:00:00", "from"),
        ("/v1/records?success=maybe", "success"),
        ("/v1/records?rating=nan", "rating"),
        ("/v1/records?min_cost=inf", "min_cost"),
        ("/v1/records?kind=a&kind=b", "kind"),
        ("/v1/records?tier=frozen", "tier"),
        (f"/v1/records?cursor={cursor}", "cursor"),
        ("/v1/changes?after=nonsense", "after"),
        ("/v1/search", "q"),
        ("/v1/search?q=", "q"),
        ("/v1/search?q=x&mode=guess", "mode"),
        ("/v1/search?q=x&limit=-1", "limit"),
        ("/v1/documents/story?limit=0", "limit"),
    ):
        assert check_problem(server.http.get(path), 400)["field"] == field, path


def test_cursors_of_another_question(server: Server) -> None:
    page = server.http.get("/v1/records", params={"kind": "task", "limit": 1}).json()
    after = server.http.get("/v1/changes", params={"limit": 1}).json()["next"]
    other = "B" if page["next"][-2] == "A" else "A"
    for path in (
        f"/v1/records?kind=event&limit=1&cursor={page['next']}",
        f"/v1/records?kind=task&order=asc&cursor={page['next']}",
        f"/v1/threads/t?cursor={page['next']}",
        f"/v1/documents/story?cursor={page['next']}",
        f"/v1/search?q=x&cursor={page['next']}",
        f"/v1/records?kind=task&cursor={after}",
        f"/v1/records?kind=task&cursor={page['next'][:-2]}{other}{page['next'][-1]}",
    ):
        assert check_problem(server.http.get(path), 400)["field"] == "cursor", path
    wrong = server.http.get("/v1/changes", params={"after": page["next"]})
    assert check_problem(wrong, 400)["field"] == "after"
    same = server.http.get(f"/v1/records?kind=task&limit=1&cursor={page['next']}")
    assert len(same.json()["items"]) == 1


def test_wrong_feedback_and_documents(server: Server) -> None:
    known = server.http.get("/v1/records").json()["items"][0]
    path = f"/v1/records/{known['id']}/feedback"
    for body, field in (
        ({"rating": 6}, "rating"),
        ({"rating": "5"}, "rating"),
        ({"stars": 5}, "stars"),
        ({"score": "high"}, "score"),
        ({"comment": 7}, "comment"),
    ):
        assert named(check_problem(server.http.post(path, json=body), 422)["field"]) == field
    for body, field in (
        ({}, "body"),
        ({"body": 1, "colour": 2}, "colour"),
        ({"body": 1, "owner": 7}, "owner"),
        ({"body": 1, "expires_at": "soon"}, "expires_at"),
    ):
        answer = server.http.put("/v1/documents/story/x", json=body)
        assert check_problem(answer, 422)["field"] == field
    for body in (b'{"body": NaN}', b'{"body": "\\ud800"}', b'{"body": ' + DEEP.encode()):
        answer = server.http.put("/v1/documents/story/x", content=body, headers=JSON)
        check_problem(answer, answer.status_code)
        assert 400 <= answer.status_code < 500


def check_problem(answer: Any, status: int) -> dict[str, Any]:
    """It is a problem document of this status that says what to do."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert len(problem["detail"]) > 10
    assert problem["code"]
    return problem
