"""What every :class:`~analect.index.protocols.GraphIndex` must do, as cases to run.

    @pytest.mark.parametrize("case", graph.CASES, ids=lambda case: case.__name__)
    def test_contract(case, tmp_path):
        case(lambda: MyIndex(tmp_path))

A case gets a function that opens the index, which is empty at first; called again, it opens the
same one once more, as another process would. A case asserts; it leaves what it opened closed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import pairwise

from analect.index.protocols import Facets, GraphIndex, GraphRecord
from analect.model.errors import NotFound
from analect.model.ids import EARLIEST, RecordId, id_text, new_id
from analect.model.query import Subgraph

Open = Callable[[], GraphIndex]
LATER = 4_000_000_000_000_000
"""When a record came that was deleted before and is put in again."""


def record_id(number: int) -> RecordId:
    """The id of a record ``number`` seconds after the earliest accepted time."""
    return new_id(EARLIEST + number * 1_000_000, random.Random(number).randbytes)  # noqa: S311  (a fixture, not a secret)


def record(
    number: int,
    *,
    tags: Sequence[str] = (),
    turn: float | None = None,
    id: RecordId | None = None,
    occurred_at: int | None = None,
    received_at: int = 0,
    dimensions: dict[str, str] | None = None,
    **texts: str,
) -> GraphRecord:
    """A record with these relations: ``thread_id``, ``parent_id``, ``service`` and so on."""
    return GraphRecord(
        Facets(
            id=id or record_id(number),
            occurred_at=EARLIEST + number * 1_000_000 if occurred_at is None else occurred_at,
            texts={"kind": "interaction", **texts},
            tags=tuple(tags),
            dimensions=dimensions or {},
            numbers={} if turn is None else {"turn": turn},
            content_hash=number.to_bytes(16, "big"),
            received_at=received_at,
        )
    )


def nodes_of(subgraph: Subgraph) -> set[tuple[str, str, int]]:
    """(type, key, distance) of each node."""
    return {(node.type, node.key, node.distance) for node in subgraph.nodes}


def edges_of(subgraph: Subgraph) -> set[tuple[str, str, str]]:
    """(source, type, target) of each edge."""
    return {(edge.source, edge.type, edge.target) for edge in subgraph.edges}


def _named(number: int) -> str:
    return f"record:{record_id(number)}"


def _records(subgraph: Subgraph) -> set[RecordId]:
    return {RecordId(node.key) for node in subgraph.nodes if node.type == "record"}


def _is_missing(index: GraphIndex, number: int) -> bool:
    try:
        index.related(record_id(number), 1, 10)
    except NotFound:
        return True
    return False


def an_empty_graph_holds_nothing(open_index: Open) -> None:
    """And says so."""
    with closing(open_index()) as index:
        assert _is_missing(index, 1)
        assert index.count() == 0
        assert list(index.entries()) == []
        assert index.shortest_path(record_id(1), record_id(2), 5) == Subgraph((), ())
        index.delete([record_id(1)])
        index.purge()
        index.check()


def a_record_is_related_to_what_its_fields_name(open_index: Open) -> None:
    """Each node and each edge names the record it comes from."""
    with closing(open_index()) as index:
        given = record(
            1,
            tags=("red", "blue", "red"),
            thread_id="t",
            session_id="s",
            process_id="p",
            subject="u",
            service="v",
            model="m",
            dimensions={"topic": "o", "document": "d", "language": "en"},
        )
        index.upsert([given])
        found = index.related(record_id(1), 1, 50)
        assert nodes_of(found) == {
            ("record", record_id(1), 0),
            ("thread", "t", 1),
            ("session", "s", 1),
            ("process", "p", 1),
            ("subject", "u", 1),
            ("service", "v", 1),
            ("model", "m", 1),
            ("topic", "o", 1),
            ("document", "d", 1),
            ("tag", "red", 1),
            ("tag", "blue", 1),
        }
        one = _named(1)
        assert edges_of(found) == {
            (one, "IN", "thread:t"),
            (one, "IN", "session:s"),
            (one, "IN", "process:p"),
            (one, "IN", "subject:u"),
            (one, "OF", "service:v"),
            (one, "OF", "model:m"),
            (one, "ABOUT", "topic:o"),
            (one, "USES", "document:d"),
            (one, "TAGGED", "tag:red"),
            (one, "TAGGED", "tag:blue"),
        }
        assert all(node.records == (record_id(1),) for node in found.nodes)
        assert all(edge.records == (record_id(1),) for edge in found.edges)
        assert not found.truncated


def a_second_step_leads_to_the_others(open_index: Open) -> None:
    """And only a second one, unless they are parent or neighbour."""
    with closing(open_index()) as index:
        index.upsert([record(n, service="v", tags=(f"of-{n}",)) for n in range(1, 4)])
        assert _records(index.related(record_id(1), 1, 50)) == {record_id(1)}
        found = index.related(record_id(1), 2, 50)
        assert _records(found) == {record_id(n) for n in (1, 2, 3)}
        (service,) = (node for node in found.nodes if node.type == "service")
        assert service.records == (record_id(3), record_id(2), record_id(1))
        assert ("tag", "of-2") not in {(node.type, node.key) for node in found.nodes}
        assert ("tag", "of-2", 3) in nodes_of(index.related(record_id(1), 3, 50))


def a_thread_has_an_order(open_index: Open) -> None:
    """By time, turn and id, in whatever order they came, microseconds included."""
    moment = EARLIEST + 5 * 1_000_000
    with closing(open_index()) as index:
        index.upsert(
            [
                record(9, thread_id="t"),
                record(5, thread_id="t", turn=2, id=_same_moment(1), occurred_at=moment),
                record(5, thread_id="t", turn=1, id=_same_moment(2), occurred_at=moment),
                record(5, thread_id="t", turn=0, id=_same_moment(3), occurred_at=moment + 7),
                record(1, thread_id="t"),
                record(6, thread_id="other"),
            ]
        )
        order = [record_id(1), *(_same_moment(n) for n in (2, 1, 3)), record_id(9)]
        for before, after in pairwise(order):
            expected = (f"record:{before}", "NEXT", f"record:{after}")
            assert expected in edges_of(index.related(before, 1, 50))
            assert expected in edges_of(index.related(after, 1, 50))
        chain = {edge for edge in edges_of(index.related(order[2], 2, 50)) if edge[1] == "NEXT"}
        assert chain == {
            (f"record:{before}", "NEXT", f"record:{after}") for before, after in pairwise(order)
        }


def _same_moment(number: int) -> RecordId:
    """Ids of one millisecond, in order of ``number``."""
    millis = EARLIEST // 1000 + 5000
    return id_text(millis.to_bytes(6, "big") + b"\x70" + bytes([number]) + b"\x80" + bytes(7))


def a_parent_and_its_children_are_one_step_away(open_index: Open) -> None:
    """Even when the parent comes after them; a parent that is not here is no node."""
    with closing(open_index()) as index:
        index.upsert([record(2, parent_id=record_id(1)), record(3, parent_id=record_id(77))])
        assert _records(index.related(record_id(2), 1, 50)) == {record_id(2)}
        assert _records(index.related(record_id(3), 1, 50)) == {record_id(3)}
        index.upsert([record(1), record(4, parent_id="a caller's own name")])
        edge = (_named(2), "PARENT", _named(1))
        for number in (1, 2):
            assert edges_of(index.related(record_id(number), 1, 50)) == {edge}


def limits_are_kept_and_said(open_index: Open) -> None:
    """A hub shows its newest records; the number of nodes is bounded."""
    with closing(open_index()) as index:
        index.upsert([record(n, tags=("hub",)) for n in range(400)])
        found = index.related(record_id(0), 2, 10)
        assert len(found.nodes) == 10
        assert found.truncated
        assert _records(found) == {record_id(n) for n in (0, *range(392, 400))}
        assert index.related(record_id(0), 2, 1000).truncated
        assert not index.related(record_id(0), 1, 10).truncated
        one = index.related(record_id(0), 3, 1)
        assert nodes_of(one) == {("record", record_id(0), 0)}
        assert one.truncated


def the_shortest_path_is_found(open_index: Open) -> None:
    """Through hubs, parents and neighbours; nothing when it is too long or there is none."""
    with closing(open_index()) as index:
        index.upsert(
            [
                record(1, session_id="a", service="common"),
                record(2, session_id="a", tags=("bridge",)),
                record(3, session_id="b", tags=("bridge",)),
                record(4, parent_id=record_id(3)),
                record(50, session_id="island"),
            ]
        )
        path = index.shortest_path(record_id(1), record_id(4), 10)
        assert nodes_of(path) == {
            ("record", record_id(1), 0),
            ("session", "a", 1),
            ("record", record_id(2), 2),
            ("tag", "bridge", 3),
            ("record", record_id(3), 4),
            ("record", record_id(4), 5),
        }
        assert len(path.edges) == 5
        assert len(index.shortest_path(record_id(4), record_id(1), 5).nodes) == 6
        assert index.shortest_path(record_id(1), record_id(4), 4).nodes == ()
        assert index.shortest_path(record_id(1), record_id(50), 10).nodes == ()
        assert index.shortest_path(record_id(1), record_id(99), 10).nodes == ()
        itself = index.shortest_path(record_id(1), record_id(1), 3)
        assert nodes_of(itself) == {("record", record_id(1), 0)}


def sessions_processes_and_tags_can_be_asked_for(open_index: Open) -> None:
    """What a session touched, what a process did in order, which tags are used most."""
    with closing(open_index()) as index:
        index.upsert(
            [
                record(n, session_id=f"s{n % 2}", process_id="p", tags=("all", f"t{n % 2}"))
                for n in (3, 1, 2, 4)
            ]
        )
        index.upsert([record(5, process_id="p", parent_id=record_id(1), tags=("all",))])
        touched = index.session_touched("s1", 50)
        assert nodes_of(touched) == {
            ("session", "s1", 0),
            ("record", record_id(1), 1),
            ("record", record_id(3), 1),
            ("process", "p", 2),
            ("tag", "all", 2),
            ("tag", "t1", 2),
        }
        chain = index.causal_chain("p", 50)
        assert [node.key for node in chain.nodes if node.type == "record"] == [
            record_id(n) for n in range(1, 6)
        ]
        relations = {edge for edge in edges_of(chain) if edge[1] != "IN"}
        assert relations == {
            (_named(5), "PARENT", _named(1)),
            *((_named(n), "NEXT", _named(n + 1)) for n in range(1, 5)),
        }
        assert index.top_tags(2) == [("all", 5), ("t0", 2)]
        for ask in (index.session_touched, index.causal_chain):
            try:
                ask("nobody", 10)
            except NotFound:
                continue
            raise AssertionError("what is not there was found")


def putting_again_replaces_relations(open_index: Open) -> None:
    """The old ones are gone, and so are nodes that nothing is related to any more."""
    with closing(open_index()) as index:
        index.upsert([record(1, tags=("old", "kept")), record(2, tags=("kept",))])
        index.upsert([record(1, tags=("older",)), record(1, tags=("new", "kept"))])
        assert index.count() == 2
        found = index.related(record_id(1), 2, 50)
        assert {node.key for node in found.nodes if node.type == "tag"} == {"new", "kept"}
        assert index.top_tags(10) == [("kept", 2), ("new", 1)]
        index.check()


def deleting_leaves_no_orphan(open_index: Open) -> None:
    """Neither a node nor an edge of what is gone."""
    with closing(open_index()) as index:
        index.upsert(
            [
                record(1, thread_id="t", tags=("shared", "own")),
                record(2, thread_id="t", tags=("shared",), parent_id=record_id(1)),
                record(3, thread_id="t"),
            ]
        )
        index.delete([record_id(1), record_id(99)])
        index.purge()
        assert _is_missing(index, 1)
        assert index.count() == 2
        assert [id_ for id_, _ in index.entries()] == [record_id(2), record_id(3)]
        assert index.top_tags(10) == [("shared", 1)]
        found = index.related(record_id(2), 3, 50)
        assert _records(found) == {record_id(2), record_id(3)}
        assert {edge[1] for edge in edges_of(found)} == {"IN", "TAGGED", "NEXT"}
        index.delete([record_id(2), record_id(3)])
        assert index.top_tags(10) == []
        index.check()


def entries_are_in_order_of_id(open_index: Open) -> None:
    """From any place on."""
    with closing(open_index()) as index:
        index.upsert([record(n) for n in reversed(range(1200))])
        assert list(index.entries()) == [(record_id(n), n.to_bytes(16, "big")) for n in range(1200)]
        assert [id_ for id_, _ in index.entries(after=record_id(1198))] == [record_id(1199)]


def the_old_answers_while_the_new_is_built(open_index: Open) -> None:
    """What is written meanwhile, through any opening, is in the new one; the switch is whole."""
    with closing(open_index()) as index, closing(open_index()) as other:
        index.upsert([record(n, tags=("old",)) for n in range(10)])
        with index.rebuilding() as fresh:
            assert fresh.count() == 0
            other.upsert([record(90, tags=("meanwhile",))])
            other.delete([record_id(2)])
            fresh.upsert([record(n, tags=("new",)) for n in range(5)])
            assert index.top_tags(5) == [("old", 9), ("meanwhile", 1)]
        for opened in (index, other):
            assert opened.top_tags(5) == [("new", 4), ("meanwhile", 1)]
            assert _is_missing(opened, 2)
            assert _is_missing(opened, 7)
        other.upsert([record(2, tags=("back",), received_at=LATER)])
        assert not _is_missing(index, 2)
        index.check()


def a_failed_build_changes_nothing(open_index: Open) -> None:
    """And the next one succeeds."""
    with closing(open_index()) as index:
        index.upsert([record(n) for n in range(10)])
        try:
            with index.rebuilding() as fresh:
                fresh.upsert([record(1)])
                _stop()
        except KeyboardInterrupt:
            assert index.count() == 10
        with index.rebuilding() as fresh:
            fresh.upsert([record(1)])
        assert index.count() == 1


def _stop() -> None:
    """What a person does who has waited long enough."""
    raise KeyboardInterrupt


def many_may_write_and_ask_at_once(open_index: Open) -> None:
    """Threads of two openings; nothing is lost."""
    with ExitStack() as stack, ThreadPoolExecutor(6) as pool:
        openings = [stack.enter_context(closing(open_index())) for _ in range(2)]
        openings[0].upsert([record(1000, tags=("all",))])

        def write(start: int) -> None:
            index = openings[start // 20 % 2]
            index.upsert(
                [record(n, tags=("all",), thread_id="t") for n in range(start, start + 20)]
            )
            index.delete([record_id(start)])

        def ask(number: int) -> None:
            found = openings[number % 2].related(record_id(1000), 2, 100)
            assert record_id(1000) in _records(found)

        futures = [pool.submit(write, start) for start in range(0, 400, 20)]
        futures += [pool.submit(ask, number) for number in range(40)]
        for future in futures:
            future.result(timeout=60)
        expected = [record_id(n) for n in range(400) if n % 20] + [record_id(1000)]
        for index in openings:
            assert [id_ for id_, _ in index.entries()] == expected
            assert index.top_tags(1) == [("all", len(expected))]
            index.check()


CASES: tuple[Callable[[Open], None], ...] = (
    an_empty_graph_holds_nothing,
    a_record_is_related_to_what_its_fields_name,
    a_second_step_leads_to_the_others,
    a_thread_has_an_order,
    a_parent_and_its_children_are_one_step_away,
    limits_are_kept_and_said,
    the_shortest_path_is_found,
    sessions_processes_and_tags_can_be_asked_for,
    putting_again_replaces_relations,
    deleting_leaves_no_orphan,
    entries_are_in_order_of_id,
    the_old_answers_while_the_new_is_built,
    a_failed_build_changes_nothing,
    many_may_write_and_ask_at_once,
)
