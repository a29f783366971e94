"""Walks from a record, a session or a process. A hub with many records shows its newest ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from analect.index.graph.found import Found
from analect.index.graph.parts import GraphReader, HubRow, RecordRow
from analect.model.errors import NotFound
from analect.model.ids import RecordId
from analect.model.query import Subgraph


def related(reader: GraphReader, record_id: RecordId, depth: int, limit: int) -> Subgraph:
    """Breadth-first, at most ``depth`` steps and ``limit`` nodes, the closest relations first.

    Raises:
        NotFound: the record is not in the graph.
    """
    root = reader.record(record_id)
    if root is None:
        raise NotFound("the graph does not hold this record (yet)", field="id")
    found = Found(limit)
    records = found.add_records([root], 0)
    hubs: list[HubRow] = []
    for distance in range(1, depth + 1):
        next_records = found.add_records(_adjacent(reader, found, records), distance)
        next_hubs = found.add_hubs(reader.hubs(_hubs_of(records, found)), distance)
        next_records += found.add_records(_members(reader, found, hubs), distance)
        records, hubs = next_records, next_hubs
    return found.subgraph()


def session_touched(reader: GraphReader, session: str, limit: int) -> Subgraph:
    """A session, its newest records, and the threads, tags and so on of these.

    Raises:
        NotFound: there is no such session.
    """
    found = Found(limit)
    hubs = found.add_hubs([_hub(reader, "session", session)], 0)
    records = found.add_records(reader.records(_numbers_in(reader, found, hubs)), 1)
    found.add_hubs(reader.hubs(_hubs_of(records, found)), 2)
    return found.subgraph()


def causal_chain(reader: GraphReader, process: str, limit: int) -> Subgraph:
    """A process and its records from the first on, each tied to its parent and to the next.

    Raises:
        NotFound: there is no such process.
    """
    found = Found(limit)
    hub = _hub(reader, "process", process)
    found.add_hubs([hub], 0)
    ((_, members),) = reader.members([hub], limit, oldest=True)
    rows = reader.records(members)
    chain = found.add_records(sorted(rows, key=lambda row: row.order), 1)
    found.following.update((before.number, after.number) for before, after in pairwise(chain))
    found.truncated = hub.uses > len(chain)
    return found.subgraph()


def _adjacent(reader: GraphReader, found: Found, records: Sequence[RecordRow]) -> list[RecordRow]:
    rows: list[RecordRow] = []
    for each in reader.beside(records):
        found.following |= each.following
        rows += each.near
    return rows


def _hubs_of(records: Sequence[RecordRow], found: Found) -> list[int]:
    numbers = dict.fromkeys(hub for row in records for hub in row.hubs)
    return [number for number in numbers if number not in found.hubs]


def _members(reader: GraphReader, found: Found, hubs: Sequence[HubRow]) -> list[RecordRow]:
    return reader.records(_numbers_in(reader, found, hubs))


def _numbers_in(reader: GraphReader, found: Found, hubs: Sequence[HubRow]) -> list[int]:
    """Records of the hubs that are not found yet, as many as there is room for."""
    numbers: dict[int, None] = {}
    found.truncated |= any(hub.uses > hub.type.fanout for hub in hubs)
    for _, members in reader.members(hubs):
        if len(numbers) >= found.room:
            found.truncated = True
            break
        for number in members:
            if number not in found.records:
                numbers[number] = None
    if len(numbers) > found.room:
        found.truncated = True
    return list(numbers)[: max(0, found.room)]


def _hub(reader: GraphReader, type_name: str, key: str) -> HubRow:
    hub = reader.hub(type_name, key)
    if hub is None:
        raise NotFound(f"the graph does not hold this {type_name} (yet)", field=type_name)
    return hub
