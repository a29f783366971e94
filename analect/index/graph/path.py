"""The shortest way from one record to another: from both ends at once, until they meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from analect.index.graph.found import Found
from analect.index.graph.parts import GraphReader, RecordRow
from analect.model.ids import RecordId, id_bytes
from analect.model.query import Subgraph

VISITED = 20_000
"""Nodes looked at from one end, at most."""
FANOUT = 1000
"""Of a hub with more records, only the newest are gone through."""

Place = tuple[bool, int]
"""A node: whether it is a record, and its number."""


@dataclass(slots=True)
class _Side:
    """One end: how each place was reached, and those that were reached last."""

    came_from: dict[Place, Place | None]
    frontier: list[Place]
    distances: dict[Place, int] = field(default_factory=dict)

    def way(self, place: Place) -> list[Place]:
        """From the place back to the end."""
        steps = [place]
        while (before := self.came_from[steps[-1]]) is not None:
            steps.append(before)
        return steps


def shortest_path(
    reader: GraphReader, source: RecordId, target: RecordId, max_depth: int
) -> Subgraph:
    """One shortest path of at most ``max_depth`` steps, or nothing.

    ``truncated`` when a limit may have hidden a shorter one.
    """
    ends = [reader.record(source), reader.record(target)]
    if ends[0] is None or ends[1] is None:
        return Subgraph((), ())
    found = Found(limit=max_depth + 1)
    sides = [_side(row) for row in ends if row is not None]
    steps = 0
    meeting = _meeting(sides)
    while meeting is None and steps < max_depth and all(side.frontier for side in sides):
        steps += 1
        side = min(sides, key=lambda each: len(each.frontier))
        _step(reader, side, found)
        meeting = _meeting(sides)
    if meeting is None:
        return Subgraph((), (), found.truncated)
    way = [*reversed(sides[0].way(meeting)), *sides[1].way(meeting)[1:]]
    return _along(reader, way, found)


def _side(row: RecordRow) -> _Side:
    place = (True, row.number)
    return _Side({place: None}, [place], {place: 0})


def _meeting(sides: list[_Side]) -> Place | None:
    """Where both have been, nearest to both; of equals, the one first in order."""
    one, other = sides
    common = one.came_from.keys() & other.came_from.keys()
    return min(
        common,
        key=lambda place: (one.distances[place] + other.distances[place], place),
        default=None,
    )


def _step(reader: GraphReader, side: _Side, found: Found) -> None:
    """Go one step from every place of the frontier."""
    reached: list[Place] = []
    for start, places in _onward(reader, side.frontier, found):
        for place in places:
            if place in side.came_from:
                continue
            if len(side.came_from) >= VISITED:
                found.truncated = True
                break
            side.came_from[place] = start
            side.distances[place] = side.distances[start] + 1
            reached.append(place)
    side.frontier = reached


def _onward(
    reader: GraphReader, frontier: Iterable[Place], found: Found
) -> Iterator[tuple[Place, list[Place]]]:
    """From each place, where one step leads."""
    places = list(frontier)
    rows = reader.records(number for is_record, number in places if is_record)
    for each in reader.beside(rows):
        yield (
            (True, each.row.number),
            [(True, near.number) for near in each.near] + [(False, hub) for hub in each.row.hubs],
        )
    hubs = reader.hubs(number for is_record, number in places if not is_record)
    for hub, members in reader.members(hubs, FANOUT):
        found.truncated |= hub.uses > FANOUT
        yield (False, hub.number), [(True, number) for number in members]


def _along(reader: GraphReader, way: list[Place], found: Found) -> Subgraph:
    """The nodes of the way, each at its distance from the source."""
    for distance, (is_record, number) in enumerate(way):
        if is_record:
            found.add_records(reader.records([number]), distance)
        else:
            found.add_hubs(reader.hubs([number]), distance)
    for (_, one), (_, other) in pairwise(way):
        if one in found.records and other in found.records:
            pair = sorted((found.records[one][0], found.records[other][0]), key=lambda r: r.order)
            if not _is_parent(*pair):
                found.following.add((pair[0].number, pair[1].number))
    return found.subgraph()


def _is_parent(one: RecordRow, other: RecordRow) -> bool:
    """Whether either names the other as its parent."""
    return one.parent == id_bytes(other.id) or other.parent == id_bytes(one.id)
