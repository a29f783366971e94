"""What a walk has found so far, and the answer it makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from analect.index.graph.parts import HubRow, RecordRow
from analect.model.ids import RecordId, id_bytes
from analect.model.query import Edge, Node, Subgraph

NAMED = 10
"""Records that a node names as those it comes from, at most."""


@dataclass(slots=True)
class Found:
    """Nodes with their distance, in order of discovery; at most ``limit`` of them."""

    limit: int
    records: dict[int, tuple[RecordRow, int]] = field(default_factory=dict)
    hubs: dict[int, tuple[HubRow, int]] = field(default_factory=dict)
    following: set[tuple[int, int]] = field(default_factory=set)
    """Numbers of records that come one right after the other."""
    truncated: bool = False

    @property
    def room(self) -> int:
        """How many more nodes are wanted."""
        return self.limit - len(self.records) - len(self.hubs)

    def add_records(self, rows: Iterable[RecordRow], distance: int) -> list[RecordRow]:
        """Take in those that are new, as far as there is room; returns them."""
        added = []
        for row in rows:
            if row.number in self.records:
                continue
            if self.room <= 0:
                self.truncated = True
                break
            self.records[row.number] = (row, distance)
            added.append(row)
        return added

    def add_hubs(self, rows: Iterable[HubRow], distance: int) -> list[HubRow]:
        """Take in those that are new, as far as there is room; returns them."""
        added = []
        for row in rows:
            if row.number in self.hubs:
                continue
            if self.room <= 0:
                self.truncated = True
                break
            self.hubs[row.number] = (row, distance)
            added.append(row)
        return added

    def subgraph(self) -> Subgraph:
        """Every node, and every relation between two of them."""
        edges: list[Edge] = []
        sources: dict[int, list[RecordId]] = {number: [] for number in self.hubs}
        by_id = {id_bytes(row.id): row for row, _ in self.records.values()}
        for row, _ in sorted(self.records.values(), key=lambda pair: pair[0].id, reverse=True):
            for number in row.hubs:
                if number in self.hubs:
                    hub = self.hubs[number][0]
                    sources[number].append(row.id)
                    edges.append(Edge(f"record:{row.id}", _name(hub), hub.type.relation, (row.id,)))
            parent = by_id.get(row.parent) if row.parent is not None else None
            if parent is not None:
                edges.append(_between(row, parent, "PARENT", (row.id,)))
        for one, other in sorted(self.following):
            if one in self.records and other in self.records:
                before, after = self.records[one][0], self.records[other][0]
                edges.append(_between(before, after, "NEXT", (before.id, after.id)))
        nodes = [
            Node("record", row.id, (row.id,), distance) for row, distance in self.records.values()
        ]
        nodes += [
            Node(hub.type.name, hub.key, tuple(sources[number][:NAMED]), distance)
            for number, (hub, distance) in self.hubs.items()
        ]
        # Sorting keeps the order of discovery among nodes equally far away.
        nodes.sort(key=lambda node: node.distance)
        return Subgraph(tuple(nodes), tuple(edges), self.truncated)


def _name(hub: HubRow) -> str:
    return f"{hub.type.name}:{hub.key}"


def _between(one: RecordRow, other: RecordRow, relation: str, origin: tuple[RecordId, ...]) -> Edge:
    return Edge(f"record:{one.id}", f"record:{other.id}", relation, origin)
