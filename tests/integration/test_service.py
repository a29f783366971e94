"""What a program that uses the façade sees, on both databases."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from analect.model.errors import (
    Conflict,
    EngineUnavailable,
    InvalidInput,
    InvalidQuery,
    NotFound,
)
from analect.model.ids import EARLIEST, new_id
from analect.model.query import Annotation, PageRequest, RecordFilter, SearchRequest
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.service.finding import wait_until
from analect.settings import Search, Settings

WAIT = 20.0
MAIL = "bob.tanner@example.org"


def stored(service: AnalysisService, *drafts: Draft) -> list[str]:
    result = service.ingest(list(drafts), wait_indexed=WAIT)
    assert result.rejected == ()
    return [str(record_id) for record_id in result.ids]


def test_a_record_comes_back_whole_but_for_personal_data(service: AnalysisService) -> None:
    draft = Draft(
        kind="llm_call",
        thread_id="t-1",
        session_id="session one",
        subject=MAIL,
        model="m-1",
        success=True,
        duration_ms=12,
        input_tokens=3,
        tags=["a", "b"],
        dimensions={"language": "en"},
        measures={"score": 0.5},
        input={"messages": [{"role": "user", "content": f"I am {MAIL}"}]},
        output="fine",
    )
    (record_id,) = stored(service, draft)
    record = service.get(record_id)
    assert record.kind == "llm_call"
    assert record.tags == ("a", "b")
    assert record.dimensions == {"language": "en"}
    assert record.measures == {"score": 0.5}
    assert record.output == "fine"
    assert record.input["messages"][0]["role"] == "user"
    assert record.input["messages"][0]["content"].startswith("I am <email:")
    assert record.subject is not None
    assert record.subject.startswith("<subject:")
    assert record.payload_state == "open"


def test_the_value_a_caller_knows_finds_what_was_stored_under_its_pseudonym(
    service: AnalysisService,
) -> None:
    (mine,) = stored(service, Draft(subject=MAIL, session_id="s", input="one"))
    stored(service, Draft(subject="other", session_id="z", input="two"))
    for equals in (
        {"subject": MAIL},
        {"session_id": "s"},
        {"subject": service.get(mine).subject or ""},
    ):
        page = service.list(RecordFilter(equals=equals), PageRequest())
        assert [record.id for record in page.items] == [mine]


def test_one_bad_item_leaves_the_others_in(service: AnalysisService) -> None:
    result = service.ingest([Draft(input="good"), Draft(rating=6), Draft(input="good too")])
    assert result.accepted == 2
    assert [(r.index, r.field) for r in result.rejected] == [(1, "rating")]
    assert result.ids[1] is None


def test_the_same_record_twice_is_one_and_other_content_is_a_conflict(
    service: AnalysisService,
) -> None:
    at = EARLIEST + 5_000
    first = service.ingest([Draft(id="order-7", occurred_at=at, input="x")])
    again = service.ingest([Draft(id="order-7", occurred_at=at, input="x")])
    other = service.ingest([Draft(id="order-7", occurred_at=at, input="y")])
    assert (first.accepted, again.accepted, again.duplicates) == (1, 0, 1)
    assert first.ids == again.ids
    assert other.rejected[0].code == "conflict"


def test_content_dedupe_answers_with_the_earlier_record(service: AnalysisService) -> None:
    first = service.ingest([Draft(input="same")], dedupe=True)
    again = service.ingest([Draft(input="same"), Draft(input="new")], dedupe=True)
    assert again.ids[0] == first.ids[0]
    assert (again.accepted, again.duplicates) == (1, 1)


def test_a_payload_that_is_not_to_be_kept_leaves_its_facts(service: AnalysisService) -> None:
    result = service.ingest([Draft(input="secret", model="m")], omit_payload=True)
    record = service.get(str(result.ids[0]))
    assert record.model == "m"
    assert record.input is None
    assert record.payload_state == "omitted"
    nothing = service.ingest([Draft(model="m")], omit_payload=True)
    record = service.get(str(nothing.ids[0]))
    assert (record.payload_state, record.input) == ("open", None)


def test_a_thread_is_read_in_order_page_by_page(service: AnalysisService) -> None:
    at = EARLIEST
    drafts = [Draft(thread_id="t", occurred_at=at + n // 2, turn=n, input=str(n)) for n in range(9)]
    stored(service, *reversed(drafts))
    turns = []
    cursor = None
    while True:
        page = service.thread("t", PageRequest(limit=4, cursor=cursor, descending=False))
        turns += [record.turn for record in page.items]
        if page.next is None:
            break
        cursor = page.next
    assert turns == list(range(9))
    with pytest.raises(NotFound):
        service.thread("none", PageRequest())


@pytest.mark.parametrize("mode", ["text", "semantic", "hybrid"])
def test_search_finds_by_words_and_by_meaning(service: AnalysisService, mode: str) -> None:
    wanted, _ = stored(
        service,
        Draft(input="the customer wants a refund for the broken headphones", tags=["shop"]),
        Draft(input="kubernetes pods restart when memory runs out", tags=["ops"]),
    )
    query = "refund headphones"
    page = service.search(SearchRequest(query, mode=mode, explain=True))
    assert page.items[0].record.id == wanted
    assert page.items[0].explanation
    tagged = RecordFilter(tags=("ops",))
    filtered = service.search(SearchRequest("pods memory", mode=mode, filter=tagged))
    assert [hit.record.id for hit in filtered.items] == [_]


def test_a_search_for_personal_data_finds_its_token(service: AnalysisService) -> None:
    (record_id,) = stored(service, Draft(input=f"mail me at {MAIL} please"))
    page = service.search(SearchRequest(MAIL))
    assert [hit.record.id for hit in page.items] == [record_id]
    assert MAIL not in str(page)
    assert "<em>" in page.items[0].highlights[0]


def test_pages_of_a_search_neither_skip_nor_repeat(service: AnalysisService) -> None:
    ids = stored(service, *(Draft(input=f"apple number {n}") for n in range(25)))
    for mode in ("text", "semantic", "hybrid"):
        seen: list[str] = []
        cursor = None
        while True:
            page = service.search(SearchRequest("apple", mode=mode, limit=10, cursor=cursor))
            seen += [hit.record.id for hit in page.items]
            if page.next is None:
                break
            cursor = page.next
        assert sorted(seen) == sorted(ids), mode


def test_a_cursor_of_another_search_is_refused(service: AnalysisService) -> None:
    stored(service, *(Draft(input="apple pear") for _ in range(3)))
    page = service.search(SearchRequest("apple", limit=1))
    with pytest.raises(InvalidQuery) as refused:
        service.search(SearchRequest("pear", limit=1, cursor=page.next))
    assert refused.value.field == "cursor"


def test_a_search_may_wait_for_a_record(service: AnalysisService) -> None:
    result = service.ingest([Draft(input="freshly written")])
    page = service.search(SearchRequest("freshly", after=result.ids[0]), wait=WAIT)
    assert len(page.items) == 1


def test_relations_name_the_records_they_come_from(service: AnalysisService) -> None:
    one, two = stored(
        service,
        Draft(thread_id="t", tags=["x"], input="one"),
        Draft(thread_id="t", service="s", input="two"),
    )
    graph = service.related(one, depth=2)
    assert {(n.type, n.key) for n in graph.nodes} >= {
        ("thread", "t"),
        ("tag", "x"),
        ("record", two),
    }
    assert all(node.records for node in graph.nodes)
    assert all(edge.records for edge in graph.edges)


def test_changes_come_once_and_in_commit_order(service: AnalysisService) -> None:
    ids = [stored(service, Draft(input=str(n)))[0] for n in range(5)]
    seen = []
    cursor = None
    while True:
        page = service.changes(cursor, 2)
        if not page.items:
            break
        seen += [change.record_id for change in page.items]
        assert all(change.record is not None for change in page.items)
        cursor = page.next
    assert seen == ids


def test_documents_are_sealed_as_they_came_and_versioned(service: AnalysisService) -> None:
    body = {"mail": MAIL, "plan": "annual"}
    first = service.put_document("user", MAIL, body, owner=MAIL, status="new", expected_version=0)
    assert (first.version, first.id, first.body) == (1, MAIL, body)
    second = service.put_document("user", MAIL, {"plan": "monthly"}, owner=MAIL, expected_version=1)
    assert second.version == 2
    assert service.get_document("user", MAIL, version=1).body == body
    with pytest.raises(Conflict):
        service.put_document("user", MAIL, {}, expected_version=1)
    mine = service.list_documents("user", owner=MAIL)
    assert [document.version for document in mine.items] == [2]
    service.delete_document("user", MAIL)
    with pytest.raises(NotFound):
        service.get_document("user", MAIL)


def test_feedback_is_a_record_that_points_at_its_own(service: AnalysisService) -> None:
    (record_id,) = stored(service, Draft(input="answer", service="s"))
    feedback = service.feedback(record_id, rating=2, label="wrong", comment="not what I asked")
    found = service.feedback_of([service.get(record_id).id])
    assert [record.id for record in found[service.get(record_id).id]] == [feedback]
    assert service.get(feedback).rating == 2
    with pytest.raises(InvalidInput):
        service.feedback(record_id)
    with pytest.raises(NotFound):
        service.feedback(new_id(EARLIEST, bytes), rating=1)


@pytest.mark.parametrize("index", ["text", "vectors", "graph"])
def test_an_index_is_made_again_and_agrees_with_the_truth(
    service: AnalysisService, index: str
) -> None:
    ids = stored(service, *(Draft(input=f"pear {n}", tags=["f"]) for n in range(30)))
    parts = service._parts  # what an accident would do to the index
    parts.indexes.named(index).delete([service.get(i).id for i in ids[:10]])
    report = service.verify(index)
    assert (report.truth, report.indexed, report.missing) == (30, 20, 10)
    assert service.verify(index, repair=True).missing == 10
    assert service.verify(index).clean
    assert service.rebuild(index) == 30
    assert service.verify(index).clean


def test_a_record_is_processed_again_when_asked(service: AnalysisService) -> None:
    (record_id,) = stored(service, Draft(input="once more"))
    assert service.reprocess([record_id], ["text"]) == 1
    assert service.wait_indexed([service.get(record_id).id], WAIT)
    assert len(service.search(SearchRequest("once more")).items) == 1
    with pytest.raises(NotFound):
        service.reprocess([record_id], ["nobody"])


def test_everything_of_a_person_can_be_handed_over(service: AnalysisService) -> None:
    (mine,) = stored(service, Draft(subject=MAIL, input="mine"))
    stored(service, Draft(subject="someone else", input="not mine"))
    service.put_document("user", "u1", {"mail": MAIL}, owner=MAIL)
    records, documents = service.subject_data(MAIL)
    assert [record.id for record in records] == [mine]
    assert [document.body for document in documents] == [{"mail": MAIL}]


def test_what_was_stored_is_there_after_a_restart(settings: Settings) -> None:
    with AnalysisService.open(settings) as first:
        result = first.ingest([Draft(input="stays", subject="me")])
    with AnalysisService.open(settings) as second:
        assert second.get(str(result.ids[0])).input == "stays"
        assert second.process() > 0
        assert len(second.search(SearchRequest("stays")).items) == 1
        assert second.health().ready


def test_the_vault_gives_back_what_is_behind_a_token_and_logs_the_look(settings: Settings) -> None:
    keeping = settings.model_copy(
        update={"privacy": settings.privacy.model_copy(update={"vault": True})}
    )
    with AnalysisService.open(keeping) as service:
        result = service.ingest([Draft(input=f"mail {MAIL}", subject="me")])
        token = service.get(str(result.ids[0])).input.split()[1]
        assert service.reveal(token, "auditor") == MAIL
        with pytest.raises(NotFound):
            service.reveal("<email:0123456789abcdef>", "auditor")
        with pytest.raises(InvalidInput):
            service.reveal("no token", "auditor")


def test_without_the_vault_a_token_stays_a_token(service: AnalysisService) -> None:
    (record_id,) = stored(service, Draft(input=f"mail {MAIL}"))
    with pytest.raises(NotFound):
        service.reveal(service.get(record_id).input.split()[1], "auditor")


def test_annotations_replace_their_own_and_their_text_is_sealed(service: AnalysisService) -> None:
    (record_id,) = stored(service, Draft(input="good morning"))
    known = service.get(record_id).id
    keep = service._parts.conclusions.keep
    keep([Annotation(known, "greeter", 1, "topic", value="smalltalk", confidence=0.5)])
    keep([Annotation(known, "greeter", 2, "topic", value="greeting", text="says good morning")])
    (one,) = service.annotations([known])[known]
    assert (one.value, one.text, one.processor_version) == ("greeting", "says good morning", 2)


@pytest.mark.parametrize("index", ["text", "vectors", "graph"])
def test_a_damaged_index_is_made_again_while_the_service_runs(
    settings: Settings, index: str
) -> None:
    folder = settings.home / "index"
    with AnalysisService.open(settings) as first:
        first.start()
        ids = stored(first, *(Draft(input=f"plum {n}", thread_id="t") for n in range(5)))
    for path in folder.glob(f"{index}*"):
        path.write_bytes(b"not what it was" * 1000)
    with AnalysisService.open(settings) as second:
        second.start()
        assert wait_until(lambda: second.status()["indexes"][index]["rebuilt"] == 1, WAIT)
        assert second.status()["indexes"][index] == {"state": "ok", "rebuilt": 1, "records": 5}
        assert len(second.search(SearchRequest("plum", mode="hybrid")).items) == 5
        assert len(second.related(ids[0]).nodes) > 2


def test_what_is_erased_while_an_index_is_made_again_does_not_come_back(
    service: AnalysisService, settings: Settings
) -> None:
    ids = stored(service, *(Draft(input=f"quince {n}", subject=f"p{n}") for n in range(8)))
    erased: list[str] = []

    def erase_one(_done: int, _total: int) -> None:
        if not erased:  # its records have been read and put in already
            erased.append(service.erase("subject", "p3").state)

    service.rebuild("text", erase_one)
    found = service.search(SearchRequest("quince")).items
    assert sorted(hit.record.id for hit in found) == sorted(i for i in ids if i != ids[3])
    assert service.verify("text").orphaned == 0
    # Pending while the index was made again, it is settled when that is over.
    assert [receipt.state for receipt in service.erasures()] == ["final"]


def test_a_processor_that_came_later_gets_every_record(service: AnalysisService) -> None:
    ids = stored(service, *(Draft(input=f"medlar {n}") for n in range(7)))
    text = service._parts.indexes.named("text")
    text.delete([service.get(i).id for i in ids])
    assert service.reprocess_all(["text"]) == 7
    assert service.wait_indexed([service.get(i).id for i in ids], WAIT)
    assert text.count() == 7


def test_a_status_does_not_wait_for_a_server_that_hangs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analect.service.status.PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        url = f"http://127.0.0.1:{hangs.getsockname()[1]}"
        settings = settings.model_copy(update={"search": Search(url=url, timeout_seconds=60)})
        with AnalysisService.open(settings) as service:
            shown = service.status()["indexes"]
            assert shown["graph"]["state"] == "ok"
            for name in ("text", "vectors"):
                assert shown[name]["state"] == "unavailable"
                assert shown[name]["problem"] == "its server said nothing within 0.2 s"
            hangs.close()
            assert wait_until(
                lambda: "nothing" not in service.status()["indexes"]["text"]["problem"], WAIT
            )


def test_a_hybrid_search_answers_from_what_is_left(settings: Settings) -> None:
    with AnalysisService.open(settings) as first:
        first.start()
        stored(first, Draft(input="a sloe is a small plum"))
    for path in (settings.home / "index").glob("text*"):
        path.write_bytes(b"not what it was")
    with AnalysisService.open(settings) as second:  # nothing runs that would mend it
        page = second.search(SearchRequest("sloe", mode="hybrid"))
        assert page.degraded
        assert page.reason is not None
        assert page.reason.endswith("; found by meaning alone")
        assert len(page.items) == 1
        page = second.search(SearchRequest("plum", mode="text"))
        assert page.degraded
        assert [hit.highlights for hit in page.items] == [("a sloe is a small <em>plum</em>",)]
        assert second.search(SearchRequest("pear", mode="text")).items == ()


def test_a_hybrid_search_with_neither_index_looks_through_the_newest_records(
    settings: Settings,
) -> None:
    with AnalysisService.open(settings) as first:
        first.start()
        stored(first, *(Draft(input=f"a sloe is a small plum {n}") for n in range(3)))
        request = SearchRequest("sloe", mode="hybrid", limit=1)
        behind = first.search(request).next
    for path in (settings.home / "index").iterdir():
        path.write_bytes(b"not what it was")
    with AnalysisService.open(settings) as second:  # nothing runs that would mend it
        page = second.search(replace(request, limit=2))
        assert page.degraded
        assert page.reason is not None
        assert "the text index cannot be used" in page.reason
        assert "newest" in page.reason
        assert len(page.items) == 2
        for hit in page.items:
            assert hit.highlights[0].startswith("a <em>sloe</em> is a small plum")
        with pytest.raises(EngineUnavailable):  # of its second page only the indexes know
            second.search(replace(request, cursor=behind))
        with pytest.raises(EngineUnavailable):
            second.search(SearchRequest("sloe", mode="semantic"))
