"""Planted personal data is in no file, no log, no metric and no error: the raw bytes say so."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import zstandard

from demo import proof
from tests.acceptance.processes import Place, Server

PEM = "MIIEpAIBAAKCAQEAu1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gun"
PLANTED = {
    "mail": "roswitha.unverwechselbar@mail-provider.example",
    "mail with umlaut": "jürgen.sondermann@bücher-laden.example",
    "phone": "+49 151 23456789",
    "card": "4539 1488 0343 6467",
    "iban": "DE89 3704 0044 0532 0130 00",
    "ssn": "536-90-4399",
    "ip": "203.0.113.77",
    "ipv6": "2001:db8:85a3::8a2e:370:7334",
    "mac": "3c:22:fb:9a:7e:51",
    "url credentials": "https://admin:Sehr-Geheim-9@intern.example/path",
    "api key": "sk-proj-" + "Ab3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5hJ7k",
    "aws key": "AKIAIOSFODNN7EXAMPLQ",
    "github token": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "pem": f"-----BEGIN RSA PRIVATE KEY-----\n{PEM}\n-----END RSA PRIVATE KEY-----",
    "user agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.6478.127 Safari/537.36",
}
MAIL = PLANTED["mail"]
HASHED = {"subject": "kunde-4711-unverwechselbar", "session_id": "sitzung-0815-unverwechselbar"}
"""Not personal by their form; hashed because of where they stand."""
SEALED = {"body": "the secret recipe of the house Unverwechselbar"}
"""Kept as it came, under a key."""

SOUGHT = {
    **{name: value for name, value in PLANTED.items() if name not in {"pem", "url credentials"}},
    "pem": PEM,
    "url credentials": "Sehr-Geheim-9",
    **HASHED,
    **SEALED,
}
TEXT = "the common word marzipan stands before "


def records() -> Iterator[dict[str, Any]]:
    """Every value in every place that a record has."""
    for name, value in PLANTED.items():
        said = f"{TEXT}{value} and after."
        short = value[:200]
        yield {
            "thread_id": short,
            "process_id": short,
            "trace_id": short,
            "span_id": short,
            "name": short,
            "status": short,
            "role": short,
            "model": short,
            "service": short,
            "project": short,
            "environment": short,
            "external_id": value,
            "source": short,
            "occurred_at": "2025-06-30T12:00:00Z",
            "tags": [short, f"about {short}"],
            "dimensions": {"plain": short, "client_ip": PLANTED["ip"]},
            **HASHED,
            "input": said,
            "output": {"nested": [[{"deep": said, value: "as a key"}]]},
            "variables": {f"x {value}": [value, {value: value}]},
            "attributes": {"json in text": json.dumps({"inner": said}), "n": name},
        }
    yield {"id": MAIL, "occurred_at": "2025-06-30T12:00:00Z", "input": "an id of one's own"}
    yield {"subject": MAIL, "session_id": MAIL, "input": MAIL}


def provoke(server: Server) -> list[str]:
    """Ask wrongly and rightly with every value; what the answers say."""
    http, said = server.http, []

    def heard(answer: Any, *, refused: bool = True) -> None:
        assert answer.status_code < 500, answer.text
        assert answer.status_code >= 400 or not refused, answer.request.url.path
        said.append(answer.text + str(dict(answer.headers)))

    for value in (*PLANTED.values(), *HASHED.values()):
        within = quote(value, safe="")
        for item in (
            {value: 1},
            {"input": "x", "dimensions": {value: 7}},
            {"measures": {value: "x"}},
            {"kind": value},
            {"rating": value},
            {"occurred_at": value},
            {"id": value},
            {"parent_id": value * 40},
            {"tags": value},
            {"thread_id": value + "\0"},
            {"output": {value: "\ud800"}},
        ):
            body = json.dumps(item).encode()
            heard(http.post("/v1/records", content=body, headers=JSON))
        for body in (f'{{"input": {value}', f'"{value}"', f"[{value}]"):
            heard(http.post("/v1/records", content=body.encode(), headers=JSON))
        heard(http.post("/v1/records", json={}, params={value: value}))
        heard(http.post("/v1/records", content=b"{}", headers={"content-type": "x/" + within}))
        for path in (
            f"/v1/records/{within}",
            f"/v1/records?{within}=1",
            f"/v1/records?limit={within}",
            f"/v1/records?from={within}",
            f"/v1/records?cursor={within}",
            f"/v1/changes?after={within}",
            f"/v1/related/{within}",
            f"/v1/search?q=x&mode={within}",
            f"/v1/documents/{within}/x",
            f"/v1/documents/story/{within}?version=99",
            f"/{within}",
        ):
            heard(http.get(path, headers={"x-request-id": within}))
        for path in (
            f"/v1/search?q={within}",
            f"/v1/search?q=%22{within}%22&tag={within}&explain=true",
            f"/v1/records?tag={within}&thread={within}&session={within}&subject={within}",
            f"/v1/documents/note?owner={within}&status={within}",
            f"/v1/threads/{within}",
        ):
            heard(http.get(path), refused=False)
        heard(http.request("PATCH", f"/v1/documents/story/{within}"))
    return said


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.timeout(240)
def test_planted_personal_data_is_nowhere(
    database: str, place: Place, request: pytest.FixtureRequest
) -> None:
    place.variables.update(ANALECT_LOG__LEVEL="debug", ANALECT_PRIVACY__VAULT="true")
    if database == "postgres":
        url = request.getfixturevalue("postgres_url")
        place.variables["ANALECT_DATABASE_URL"] = url
    else:
        place.variables["ANALECT_INDEX__VECTORS"] = "true"
    sent = list(records())
    with place.server() as server:
        http = server.http
        stored = http.post("/v1/records", json=sent).json()
        assert stored["accepted"] == len(sent), stored
        for name, value in PLANTED.items():
            owner = HASHED["subject"] if name == "mail" else value
            body = {"body": [SEALED["body"], value], "owner": owner, "status": value[:200]}
            path = f"/v1/documents/story/{quote(f'{name} {value!r}', safe='')}"
            assert http.put(path, json=body).status_code == 201
            assert http.get(path).json()["body"] == body["body"]
        found = http.get("/v1/documents/story", params={"status": PLANTED["iban"]}).json()
        assert [one["body"][1] for one in found["items"]] == [PLANTED["iban"]]
        feedback = {"comment": MAIL, "label": MAIL, "rating": 1}
        assert http.post(f"/v1/records/{stored['ids'][0]}/feedback", json=feedback).is_success
        status = server.settle()
        assert not status["quarantine"]

        # It can be found by who knows the value, and what comes back does not say it.
        answers = ask(server)
        found = scan(place, answers, request)
        assert not found, "\n".join(f"{name}: {where}" for name, where in found)
        errors = provoke(server)
        metrics = [http.get("/metrics").text, http.get("/v1/status").text]
        said = [http.get(f"/v1/records/{record_id}").text for record_id in stored["ids"]]
        said += [http.get("/v1/changes?limit=1000").text]
        assert server.stop() == 0
    texts = {"errors": errors, "metrics": metrics, "records": said}
    found = scan(place, texts, request)
    assert not found, "\n".join(f"{name}: {where}" for name, where in found)


def ask(server: Server) -> dict[str, list[str]]:
    """Questions with the values themselves find their records."""
    found = []
    for params in (
        {"subject": HASHED["subject"]},
        {"session": HASHED["session_id"]},
        {"thread": PLANTED["phone"]},
        {"tag": PLANTED["iban"]},
        {"dim.client_ip": PLANTED["ip"]},
    ):
        answer = server.http.get("/v1/records", params=params)
        assert answer.json()["items"], params
        found.append(answer.text)
    for name in ("mail", "phone", "iban", "ip"):
        answer = server.http.get("/v1/search", params={"q": f'"{PLANTED[name]}"'})
        assert answer.json()["items"], name
        found.append(answer.text)
    return {"answers": found}


def scan(
    place: Place, texts: dict[str, list[str]], request: pytest.FixtureRequest
) -> tuple[tuple[str, str], ...]:
    """(value, place) of whatever is found in the files as they are, in their unpacked forms, and
    in ``texts``.
    """
    folders = [place.root]
    if "ANALECT_DATABASE_URL" in place.variables:
        server = request.getfixturevalue("postgres_server")
        server.psql("CHECKPOINT")
        folders.append(Path(server.pgdata))
    unpacked = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                unpacked[f"{path} unpacked"] = "".join(frames(path.read_bytes()))
    joined = {name: "\n".join(some) for name, some in texts.items()}
    result = proof.search(SOUGHT, folders, {**unpacked, **joined})
    assert result.files > 8
    assert result.bytes > 100_000
    return result.found


def frames(content: bytes) -> Iterator[str]:
    """What is inside zstd, gzip and zlib frames that lie open anywhere in ``content``."""
    for magic, unpack in (
        (
            b"\x28\xb5\x2f\xfd",
            lambda raw: zstandard.ZstdDecompressor().decompressobj().decompress(raw),
        ),
        (b"\x1f\x8b\x08", lambda raw: zlib.decompressobj(31).decompress(raw)),
    ):
        at = content.find(magic)
        while at >= 0:
            with suppress(zstandard.ZstdError, zlib.error):  # no frame, by chance
                yield unpack(content[at : at + 65536]).decode("latin-1")
            at = content.find(magic, at + 1)


def test_the_search_would_find_what_leaks(place: Place, request: pytest.FixtureRequest) -> None:
    place.home.mkdir(parents=True)
    (place.home / "packed").write_bytes(b"page" + zstandard.compress(f"a {MAIL} b".encode()))
    hidden = place.home / "log"
    hidden.write_text(json.dumps({"event": PLANTED["jwt"]}) + "x" * 200_000)
    for number in range(8):
        (place.home / f"other-{number}").write_text("nothing here")
    found = scan(place, {"answers": [PLANTED["mail with umlaut"].upper()]}, request)
    assert ("jwt", str(hidden)) in found
    assert ("mail", f"{place.home / 'packed'} unpacked") in found
