"""Reading, searching, relations, feedback and documents over HTTP."""

from __future__ import annotations

import pytest

from tests.integration.http_serving import running, settings_in

MAIL = "carla.reader@example.org"
MISSING = "01900000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    with running(settings_in(tmp_path_factory.mktemp("reading"))) as server:
        yield server.client


@pytest.fixture(scope="module")
def stored(http):
    """A conversation of five turns, an hour apart, and its ids in order."""
    items = [
        {
            "kind": "message",
            "occurred_at": f"2025-03-0{1 + n // 3}T0{n}:00:00Z",
            "thread_id": "thread/one",
            "session_id": "session one",
            "subject": MAIL,
            "turn": n,
            "role": "user" if n % 2 == 0 else "assistant",
            "model": "m-1" if n < 3 else "m-2",
            "cost": n / 10,
            "success": n != 4,
            "tags": ["even"] if n % 2 == 0 else ["odd", "all"],
            "dimensions": {"language": "de" if n < 2 else "en"},
            "input": f"parcel number {['one', 'two', 'three', 'four', 'five'][n]}",
        }
        for n in range(5)
    ]
    answer = http.post("/v1/records", params={"wait": "indexed"}, json=items)
    assert answer.json()["accepted"] == 5
    return answer.json()["ids"]


def _ids(answer):
    assert answer.status_code == 200, answer.text
    return [item.get("record", item)["id"] for item in answer.json()["items"]]


@pytest.mark.parametrize(
    ("params", "places"),
    [
        ({"thread": "thread/one"}, [4, 3, 2, 1, 0]),
        ({"thread_id": "thread/one", "order": "asc"}, [0, 1, 2, 3, 4]),
        ({"session": "session one", "model": "m-1"}, [2, 1, 0]),
        ({"subject": MAIL, "success": "false"}, [4]),
        ({"subject": MAIL, "tag": ["odd", "all"]}, [3, 1]),
        ({"subject": MAIL, "dim.language": "de"}, [1, 0]),
        ({"subject": MAIL, "min_cost": "0.1", "max_cost": "0.3"}, [3, 2, 1]),
        ({"subject": MAIL, "turn": "2"}, [2]),
        ({"subject": MAIL, "role": "assistant", "kind": "message"}, [3, 1]),
        ({"subject": MAIL, "from": "2025-03-01T01:00:00Z", "to": "2025-03-01T02:00:00Z"}, [1]),
        ({"thread": "none such"}, []),
    ],
)
def test_lists_filter(http, stored, params, places):
    assert _ids(http.get("/v1/records", params=params)) == [stored[place] for place in places]


def test_pages_join_without_gap(http, stored):
    found, params = [], {"thread": "thread/one", "limit": "2"}
    while True:
        page = http.get("/v1/records", params=params).json()
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert found == stored[::-1]


def test_a_cursor_of_another_question_is_refused(http, stored):
    cursor = http.get("/v1/records", params={"subject": MAIL, "limit": "2"}).json()["next"]
    for params in ({"tag": "odd", "cursor": cursor}, {"cursor": "nonsense"}):
        answer = http.get("/v1/records", params=params)
        assert answer.status_code == 400
        assert answer.json()["field"] == "cursor"


def test_a_thread_in_order(http, stored):
    answer = http.get("/v1/threads/thread%2Fone", params={"limit": "3"})
    assert _ids(answer) == stored[:3]
    rest = http.get("/v1/threads/thread%2Fone", params={"cursor": answer.json()["next"]})
    assert _ids(rest) == stored[3:]
    missing = http.get("/v1/threads/none")
    assert missing.status_code == 404


def test_a_record_that_is_not_there(http):
    for record_id in (MISSING, "mine", "%00", "a" * 3000):
        answer = http.get(f"/v1/records/{record_id}")
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize("way", ["address", "body"])
def test_search(http, stored, way):
    question = {"q": "parcel -three", "tag": "even", "limit": 10, "explain": True}
    if way == "address":
        answer = http.get("/v1/search", params={**question, "explain": "true"})
    else:
        answer = http.post("/v1/search", json={**question, "tag": ["even"]})
    assert sorted(_ids(answer)) == sorted([stored[0], stored[4]])
    hit = answer.json()["items"][0]
    assert "<em>parcel</em>" in "".join(hit["highlights"])
    assert hit["explanation"]
    assert answer.json()["degraded"] is False


def test_search_waits_for_what_was_just_written(http):
    (record_id,) = http.post("/v1/records", json={"input": "quicksilver"}).json()["ids"]
    answer = http.get("/v1/search", params={"q": "quicksilver", "after": record_id})
    assert _ids(answer) == [record_id]


def test_wrong_searches(http):
    for question in ({}, {"q": ""}, {"q": "x", "mode": "magic"}, {"q": "x", "limit": "0"}):
        assert http.get("/v1/search", params=question).status_code == 400
    assert http.post("/v1/search", content=b"q=x").status_code == 415
    assert http.post("/v1/search", json=["x"]).status_code == 400


def test_an_index_that_is_off_says_so(http):
    answer = http.get("/v1/search", params={"q": "x", "mode": "semantic"})
    assert answer.status_code in {400, 503}
    assert "vectors" in answer.json()["detail"]


def test_related(http, stored):
    graph = http.get(f"/v1/related/{stored[0]}", params={"depth": "2"}).json()
    types = {node["type"] for node in graph["nodes"]}
    assert {"record", "thread", "session", "subject"} <= types
    assert all(edge["records"] for edge in graph["edges"])
    assert MAIL not in str(graph)
    assert http.get(f"/v1/related/{MISSING}").status_code == 404
    assert http.get(f"/v1/related/{stored[0]}", params={"depth": "9"}).status_code == 400


def test_other_questions_along_relations(http, stored):
    way = http.get(f"/v1/related/{stored[0]}/to/{stored[4]}").json()
    assert [node["distance"] for node in way["nodes"]] == [0, 1, 2]
    assert http.get(f"/v1/related/{stored[0]}/to/{MISSING}").json()["nodes"] == []
    assert http.get(f"/v1/related/{stored[0]}/to/x").status_code == 404
    assert http.get(f"/v1/related/{stored[0]}/to/{stored[1]}?steps=99").status_code == 400
    session = http.get("/v1/sessions/session one/related").json()
    assert session["nodes"][0]["type"] == "session"
    assert {node["key"] for node in session["nodes"] if node["type"] == "record"} == set(stored)
    assert http.get("/v1/sessions/nobody's/related").status_code == 404
    job = [
        {"kind": "task", "process_id": "orders/7", "input": f"step {n}", "tags": ["job"]}
        for n in range(3)
    ]
    answer = http.post("/v1/records", params={"wait": "indexed"}, json=job)
    chain = http.get("/v1/processes/orders/7/chain").json()
    assert {node["key"] for node in chain["nodes"][1:]} == set(answer.json()["ids"])
    assert [edge["type"] for edge in chain["edges"]].count("NEXT") == 2
    tags = http.get("/v1/tags", params={"limit": "4"}).json()["items"]
    assert {"tag": "job", "records": 3} in tags
    assert {"tag": "even", "records": 3} in tags


def test_changes_say_everything_once(http, stored):
    found, after = [], None
    while True:
        params = {"limit": "3", **({"after": after} if after else {})}
        page = http.get("/v1/changes", params=params).json()
        after = page["next"]
        if not page["items"]:
            break
        found += [item["id"] for item in page["items"]]
    assert len(found) == len(set(found))
    assert set(stored) <= set(found)
    assert http.get("/v1/changes", params={"after": "nonsense"}).status_code == 400


def test_feedback(http, stored):
    path = f"/v1/records/{stored[1]}/feedback"
    answer = http.post(path, json={"rating": 5, "comment": f"thanks, {MAIL}"})
    assert answer.status_code == 201
    (record,) = http.get(path).json()["items"]
    assert record["id"] == answer.json()["id"]
    assert (record["kind"], record["rating"], record["parent_id"]) == (
        "evaluation",
        5,
        stored[1],
    )
    assert MAIL not in str(record)
    for body, status in (
        ({}, 422),
        ({"rating": 6}, 422),
        ({"rating": True}, 422),
        ({"stars": 5}, 422),
        ([], 400),
    ):
        assert http.post(path, json=body).status_code == status, body
    assert http.post(f"/v1/records/{MISSING}/feedback", json={"rating": 5}).status_code == 404


def test_a_document_and_its_versions(http):
    path = "/v1/documents/story/an%2Fid"
    first = http.put(
        path,
        json={
            "body": {"text": MAIL},
            "owner": MAIL,
            "status": "draft",
            "expires_at": "2999-01-01T00:00:00Z",
        },
    )
    assert first.status_code == 201
    assert first.headers["etag"] == '"1"'
    read = http.get(path)
    assert read.json()["body"] == {"text": MAIL}
    assert read.json()["expires_at"] == "2999-01-01T00:00:00.000000Z"
    assert MAIL not in read.json()["owner"]
    unchanged = http.get(path, headers={"if-none-match": read.headers["etag"]})
    assert unchanged.status_code == 304
    second = http.put(path, json={"body": 2}, headers={"if-match": '"1"'})
    assert (second.status_code, second.json()["version"]) == (200, 2)
    assert http.put(path, json={"body": 3}, headers={"if-match": '"1"'}).status_code == 412
    late = http.put(path, json={"body": 3}, params={"version": 1})
    assert (late.status_code, late.json()["field"]) == (409, "version")
    assert http.put(path, json={"body": 3}, headers={"if-none-match": "*"}).status_code == 412
    absent = "/v1/documents/story/absent"
    assert http.put(absent, json={"body": 3}, headers={"if-match": "*"}).status_code == 412
    assert http.put(absent, json={"body": 3}, headers={"if-none-match": '"1"'}).status_code == 400
    assert http.get(absent).status_code == 404
    assert http.get(path, params={"version": 1}).json()["body"] == {"text": MAIL}
    assert http.get(path, params={"version": 9}).status_code == 404
    assert http.delete(path, headers={"if-match": '"1"'}).status_code == 412
    assert http.delete(path, headers={"if-match": '"2"'}).status_code == 204
    assert http.get(path).status_code == 404


def test_documents_are_listed_by_owner_and_status(http):
    for number in range(3):
        http.put(
            f"/v1/documents/note/{number}",
            json={"body": number, "owner": MAIL, "status": "open" if number else "done"},
        )
    answer = http.get("/v1/documents/note", params={"owner": MAIL, "status": "open"})
    assert sorted(item["body"] for item in answer.json()["items"]) == [1, 2]
    page = http.get("/v1/documents/note", params={"limit": 2}).json()
    rest = http.get("/v1/documents/note", params={"limit": 2, "cursor": page["next"]}).json()
    assert len(page["items"]) + len(rest["items"]) == 3
    assert http.get("/v1/documents/nothing").json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 422),
        (b"[]", 400),
        (b'{"body":1,"colour":2}', 422),
        (b'{"body":1,"owner":7}', 422),
        (b'{"body":1,"expires_at":"soon"}', 422),
        (b'{"body":"\\ud800"}', 400),
        (b'{"body":1e999}', 400),
        (b'{"body":1,"body":2}', 400),
        (b'{"body":1,"status":"a\\u0000"}', 422),
        (b'{"body":1,"expires_at":"9999-12-31T23:59:59-23:00"}', 422),
    ],
)
def test_wrong_documents(http, body, status):
    headers = {"content-type": "application/json"}
    answer = http.put("/v1/documents/story/wrong", content=body, headers=headers)
    assert answer.status_code == status
    assert http.get("/v1/documents/story/wrong").status_code == 404


def test_personal_data_in_a_question_is_in_no_answer(http):
    for path in (
        f"/v1/records?colour={MAIL}",
        f"/v1/records?{MAIL}=1",
        f"/v1/records?limit={MAIL}",
        f"/v1/records?from={MAIL}",
        f"/v1/records/{MAIL}",
        f"/v1/threads/{MAIL}",
        f"/v1/related/{MAIL}",
        f"/v1/documents/story/{MAIL}",
        f"/v1/search?q=x&mode={MAIL}",
        f"/{MAIL}",
    ):
        answer = http.get(path)
        assert answer.status_code in {400, 404}, path
        assert MAIL not in answer.text
