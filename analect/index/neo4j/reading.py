"""Rows of one generation of the graph, for the walks that every graph has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from neo4j import Transaction

from analect.index.graph.parts import (
    CHILDREN,
    HUB_TYPES,
    ORDERED,
    TYPE_NUMBERS,
    Beside,
    HubRow,
    RecordRow,
)
from analect.index.neo4j.schema import TO_HUBS, hub_number, place
from analect.model.ids import RecordId, id_bytes

_HUBS_AT_ONCE = 50
"""Hubs whose records are asked for together: of a walk with little room left, few are wasted."""
_ROWS_AT_ONCE = 1000

_RECORDS = (
    "UNWIND $ids AS id MATCH (r:Record {graph: $graph, id: id}) USING INDEX r:Record(graph, id) "
    "RETURN r.id AS id, r.occurred_at AS occurred_at, r.turn AS turn, r.parent AS parent, "
    f"[(r)-[:{TO_HUBS}]->(h:Hub) | [h.type, h.key]] AS hubs"
)
_HUBS = (
    "UNWIND $hubs AS hub MATCH (h:Hub {graph: $graph, type: hub.type, key: hub.key}) "
    "USING INDEX h:Hub(graph, type, key) "
    "RETURN h.type AS type, h.key AS key, COUNT { (h)<--() } AS uses"
)
_TOP = (
    "MATCH (h:Hub) USING INDEX h:Hub(graph, type, key) "
    "WHERE h.graph = $graph AND h.type = $type AND h.key > '' "
    "RETURN h.key AS key, COUNT { (h)<--() } AS uses ORDER BY uses DESC, key LIMIT $limit"
)
_MEMBERS = (
    "UNWIND $hubs AS hub RETURN hub.number AS number, COLLECT { "
    "MATCH (r)-[tie:%(relation)s]->() USING INDEX tie:%(relation)s(hub, place) "
    "WHERE tie.hub = hub.hub AND tie.place > '' "
    "RETURN r.id ORDER BY tie.hub %(order)s, tie.place %(order)s LIMIT toInteger($limit) "
    "} AS ids"
)
_FAMILY = (
    "UNWIND $ids AS id MATCH (r:Record {graph: $graph, id: id}) USING INDEX r:Record(graph, id) "
    "RETURN id, [(r)-[:PARENT]->(parent:Record) | parent.id] AS parents, "
    "COLLECT { MATCH (child:Record)-[:PARENT]->(r) "
    "RETURN child.id ORDER BY child.place DESC LIMIT $limit } AS children"
)
_ONE = (
    "COLLECT { MATCH (r)-[tie:IN]->() USING INDEX tie:IN(hub, place) "
    "WHERE tie.hub = ask.hub AND tie.place %s ask.place "
    "RETURN r.id ORDER BY tie.hub %s, tie.place %s LIMIT 1 }"
)
_NEIGHBOURS = (
    f"UNWIND $asked AS ask RETURN {_ONE % ('<', 'DESC', 'DESC')} AS before, "
    f"{_ONE % ('>', 'ASC', 'ASC')} AS after"
)


class Neo4jReader:
    """A :class:`~analect.index.graph.parts.GraphReader` within one transaction. It numbers what it
    meets as it goes.
    """

    def __init__(self, transaction: Transaction, graph: str) -> None:
        self._transaction = transaction
        self._graph = graph
        self._numbers: dict[tuple[str, str], int] = {}
        self._names: list[tuple[str, str]] = []
        self._rows: dict[int, RecordRow] = {}
        self._hubs: dict[int, HubRow] = {}

    def record(self, record_id: RecordId, /) -> RecordRow | None:
        """The record of this id."""
        found = self.records([self._number("record", record_id)])
        return found[0] if found else None

    def records(self, numbers: Iterable[int], /) -> list[RecordRow]:
        """The records of these numbers, in the same order."""
        asked = list(numbers)
        unknown = dict.fromkeys(number for number in asked if number not in self._rows)
        for part in _parts(list(unknown), _ROWS_AT_ONCE):
            for row in self._run(_RECORDS, ids=[self._names[number][1] for number in part]):
                found = self._record_row(row)
                self._rows[found.number] = found
        return [self._rows[number] for number in asked if number in self._rows]

    def hubs(self, numbers: Iterable[int], /) -> list[HubRow]:
        """The hubs of these numbers, closest relations first, small ones before large ones."""
        asked = dict.fromkeys(numbers)
        unknown = [self._names[number] for number in asked if number not in self._hubs]
        for part in _parts(unknown, _ROWS_AT_ONCE):
            keys = [{"type": type_name, "key": key} for type_name, key in part]
            for row in self._run(_HUBS, hubs=keys):
                number = self._number(row["type"], row["key"])
                hub_type = HUB_TYPES[TYPE_NUMBERS[row["type"]]]
                self._hubs[number] = HubRow(number, hub_type, row["key"], row["uses"])
        found = [self._hubs[number] for number in asked if number in self._hubs]
        return sorted(found, key=lambda hub: (TYPE_NUMBERS[hub.type.name], hub.uses, hub.key))

    def hub(self, type_name: str, key: str, /) -> HubRow | None:
        """The hub of this type and key."""
        found = self.hubs([self._number(type_name, key)])
        return found[0] if found else None

    def members(
        self, hubs: Iterable[HubRow], limit: int | None = None, /, *, oldest: bool = False
    ) -> Iterator[tuple[HubRow, list[int]]]:
        """The numbers of each hub's records, newest first, or oldest first."""
        for part in _parts(list(hubs), _HUBS_AT_ONCE):
            found: dict[int, list[int]] = {}
            groups: dict[tuple[str, int], list[HubRow]] = defaultdict(list)
            for hub in part:
                groups[hub.type.relation, limit or hub.type.fanout].append(hub)
            for (relation, most), group in groups.items():
                order = "ASC" if oldest else "DESC"
                asked = [{"number": hub.number, "hub": self._hub_number(hub)} for hub in group]
                statement = _MEMBERS % {"relation": relation, "order": order}
                for row in self._run(statement, hubs=asked, limit=most):
                    ids = (self._number("record", record_id) for record_id in row["ids"])
                    found[row["number"]] = list(ids)
            yield from ((hub, found.get(hub.number, [])) for hub in part)

    def beside(self, rows: Iterable[RecordRow], /) -> Iterator[Beside]:
        """The records one step from each: its parent, its neighbours, its children."""
        asked = list(rows)
        parents: dict[int, list[int]] = {}
        children: dict[int, list[int]] = {}
        for part in _parts([row.id for row in asked], _ROWS_AT_ONCE):
            for family in self._run(_FAMILY, ids=part, limit=CHILDREN):
                number = self._number("record", family["id"])
                parents[number] = [self._number("record", each) for each in family["parents"]]
                children[number] = [self._number("record", each) for each in family["children"]]
        pairs = self._following(asked)
        near: dict[int, list[int]] = {}
        for row in asked:
            neighbours = [one if other == row.number else other for one, other in pairs[row.number]]
            near[row.number] = [
                *parents.get(row.number, []),
                *neighbours,
                *children.get(row.number, []),
            ]
        self.records(number for numbers in near.values() for number in numbers)
        for row in asked:
            yield Beside(row, self.records(near[row.number]), set(pairs[row.number]))

    def top(self, type_name: str, limit: int) -> list[tuple[str, int]]:
        """The hubs of a type with the most records, and how many."""
        rows = self._run(_TOP, type=type_name, limit=limit)
        return [(row["key"], row["uses"]) for row in rows]

    def _following(self, rows: Sequence[RecordRow]) -> dict[int, list[tuple[int, int]]]:
        """Of each record, the pairs it makes with those before and after it in threads and
        processes.
        """
        self.hubs(hub for row in rows for hub in row.hubs)
        pairs: dict[int, list[tuple[int, int]]] = {row.number: [] for row in rows}
        asked: list[tuple[int, dict[str, object]]] = []
        for row in rows:
            for hub in self.hubs(row.hubs):  # known by now
                if TYPE_NUMBERS[hub.type.name] in ORDERED and hub.uses > 1:
                    order = place(row.occurred_at, row.turn, row.id)
                    asked.append((row.number, {"hub": self._hub_number(hub), "place": order}))
        for part in _parts(asked, _ROWS_AT_ONCE):
            answers = self._run(_NEIGHBOURS, asked=[ask for _, ask in part])
            for (number, _), answer in zip(part, answers, strict=True):
                pairs[number] += [(self._number("record", i), number) for i in answer["before"]]
                pairs[number] += [(number, self._number("record", i)) for i in answer["after"]]
        return pairs

    def _record_row(self, row: dict[str, Any]) -> RecordRow:
        hubs = sorted(row["hubs"], key=lambda hub: (TYPE_NUMBERS[hub[0]], hub[1]))
        return RecordRow(
            number=self._number("record", row["id"]),
            id=RecordId(row["id"]),
            occurred_at=row["occurred_at"],
            turn=row["turn"],
            parent=None if row["parent"] is None else id_bytes(RecordId(row["parent"])),
            hubs=tuple(self._number(type_name, key) for type_name, key in hubs),
        )

    def _hub_number(self, hub: HubRow) -> int:
        return hub_number(self._graph, hub.type.name, hub.key)

    def _number(self, type_name: str, key: str) -> int:
        name = (type_name, key)
        number = self._numbers.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        return number

    def _run(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._transaction.run(statement, graph=self._graph, **parameters).data()


def _parts(values: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
