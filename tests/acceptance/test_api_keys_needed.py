"""With a key set every call needs one; without one only this machine is listened to."""

from __future__ import annotations

import pytest

from analect.access.api_keys import new_api_key
from tests.acceptance.processes import Place

KEY, HASH = new_api_key(lambda count: bytes(range(count)))
PROBES = {"/healthz", "/readyz"}
NOT_DESCRIBED = ("/docs", "/openapi.json", "/", "/nothing", "/v1/", "/V1/records")


@pytest.mark.parametrize("where", ["variable", "file"])
def test_every_call_needs_a_key(place: Place, where: str) -> None:
    if where == "variable":
        place.variables["ANALECT_API_KEYS"] = HASH
    else:
        place.root.mkdir()
        (place.root / "keys").write_text(f"# who\n{HASH}\n")
        place.variables["ANALECT_API_KEYS_FILE"] = str(place.root / "keys")
    right = {"authorization": f"Bearer {KEY}"}
    with place.server() as server:
        paths = server.http.get("/openapi.json", headers=right).json()["paths"]
        assert len(paths) >= 14
        for path, methods in paths.items():
            for method in {*methods, "get", "post", "options"}:
                for headers in ({}, {"authorization": f"Bearer {KEY}x"}, {"authorization": KEY}):
                    there = path.format(id="x", kind="story", target="y")
                    answer = server.http.request(method, there, headers=headers)
                    if path in PROBES:
                        assert answer.status_code in {200, 405}
                        continue
                    assert answer.status_code == 401, (method, path)
                    assert answer.headers["www-authenticate"] == "Bearer"
                    assert answer.json()["code"] == "unauthenticated"
        for path in NOT_DESCRIBED:
            assert server.http.get(path).status_code == 401, path
        refused = server.http.post("/v1/records", json={"input": "not let in"})
        assert refused.status_code == 401
        assert server.http.get("/v1/records", headers=right).json()["items"] == []
        allowed = server.http.post("/v1/records", json={"input": "let in"}, headers=right)
        assert allowed.json()["accepted"] == 1
        server.stop()
    log = server.log.read_text("utf-8")
    assert KEY not in log
    assert HASH.removeprefix("sha256:") not in log


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_a_key_nobody_else_is_listened_to(place: Place, host: str) -> None:
    place.variables["ANALECT_HTTP__HOST"] = host
    server = place.start()
    try:
        assert not server.listen()
        assert server.process.wait(20) != 0
        assert "API key" in server.log.read_text("utf-8")
    finally:
        server.close()


def test_without_a_key_it_says_who_is_listened_to(place: Place) -> None:
    with place.server() as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.stop() == 0
    assert "only this machine" in server.log.read_text("utf-8")
