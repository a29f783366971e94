"""A server, an import, an erasure and a rebuild on the same folder at once."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.loading import Load, record_of, wait_acked, word_of
from tests.acceptance.processes import DEADLINE, Place

IMPORTED = range(1_000_000, 1_000_400)
GONE = "to-be-forgotten"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_others_work_on_the_folder_of_a_server_under_load(
    database: str, place: Place, request: pytest.FixtureRequest
) -> None:
    if database == "postgres":
        place.variables["ANALECT_DATABASE_URL"] = request.getfixturevalue("postgres_url")
    place.root.mkdir()
    source = place.root / "records.jsonl"
    source.write_text("".join(json.dumps(record_of(n)) + "\n" for n in IMPORTED), "utf-8")
    load, stopped = Load(pause=0.1), threading.Event()
    with place.server() as server:
        theirs = [{"subject": GONE, "input": f"forgettable {n}"} for n in range(50)]
        ids = server.http.post("/v1/records", json=theirs).json()["ids"]
        server.settle()
        with ThreadPoolExecutor(load.connections + 2) as pool:
            writers = load.write(server.url, stopped, pool)
            try:
                wait_acked(load, 20)
                importing = pool.submit(place.json, "import", source)
                erasing = pool.submit(place.json, "erase", "subject", "--yes", send=GONE)
                done, receipt = importing.result(DEADLINE), erasing.result(DEADLINE)
                place.json("rebuild", "graph")
                wait_acked(load, 20)
            finally:
                stopped.set()
            for writer in writers:
                writer.result(DEADLINE)
        assert set(load.statuses) == {200}
        assert (done["read"], done["stored"], done["refused"]) == (400, 400, 0)
        assert receipt["state"] == "final"

        status = server.settle()
        whole = len(load.acked) + len(IMPORTED)
        (verified,) = place.json("verify", "--index", "text")["items"]
        assert (verified["truth"], verified["indexed"]) == (whole, whole)
        assert not status["quarantine"]
        assert {one["records"] for one in status["indexes"].values()} == {whole}
        for record_id in ids[::10]:
            assert server.http.get(f"/v1/records/{record_id}").status_code in {404, 410}
        assert server.http.get("/v1/search", params={"q": "forgettable"}).json()["items"] == []
        for number in (IMPORTED[0], IMPORTED[-1], min(load.acked), max(load.acked)):
            found = server.http.get("/v1/search", params={"q": word_of(number)}).json()["items"]
            assert [hit["record"]["turn"] for hit in found] == [number]
        # The person comes back: a new key, nothing of the old.
        again = server.http.post("/v1/records", json={"subject": GONE, "input": "back again"})
        (record,) = server.http.get("/v1/records", params={"subject": GONE}).json()["items"]
        assert record["id"] == again.json()["ids"][0]
        assert record["input"] == "back again"
        assert server.stop() == 0
    assert all(one["missing"] == one["stale"] == 0 for one in place.json("verify")["items"])
