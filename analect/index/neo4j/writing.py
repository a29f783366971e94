"""Putting records into one generation of the graph, and taking them out again.

Everything is done in the order of keys, so that writers who meet wait for each other rather than
both being sent back. A deleted record leaves a ``Forgotten`` behind: whatever was received before
the deletion, and an older version of what is there, changes nothing any more, however late it comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neo4j import Transaction

from analect.index.graph.parts import HUB_TYPES, HubType, entry_of
from analect.index.neo4j.schema import TO_HUBS, hub_number, place
from analect.index.protocols import Facets, GraphRecord
from analect.model.ids import Micros, RecordId, id_text

FOREVER: Micros = 1 << 62
"""``forgotten_at`` in a generation that is being built: whatever the build still brings is older."""
KEPT: Micros = 86_400 * 1_000_000
"""How long it is known that a record was deleted: longer than any writer is under way."""

_PUT = (
    "UNWIND $rows AS row "
    # First of all the lock on the record's key: whoever deletes it takes it too.
    "MERGE (r:Record {graph: $graph, id: row.id}) WITH r, row "
    "OPTIONAL MATCH (f:Forgotten {graph: $graph, id: row.id}) "
    "WITH r, row, f, r.received_at AS before, r.relations AS related, "
    "f IS NULL OR (NOT $filling AND f.forgotten_at < row.received_at) AS wanted "
    "FOREACH (gone IN CASE WHEN wanted THEN [] ELSE [r] END | DETACH DELETE gone) "
    "FOREACH (over IN CASE WHEN wanted AND f IS NOT NULL THEN [f] ELSE [] END | DELETE over) "
    "WITH r, row, before, related WHERE wanted AND (before IS NULL OR before <= row.received_at) "
    "SET r += row, r.at = datetime({epochMillis: row.occurred_at / 1000}) "
    "RETURN row.id AS id, elementId(r) AS node, before IS NOT NULL AS known, "
    "related IS NOT NULL AND related = row.relations AS same"
)
_UNTIE = (
    "UNWIND $ids AS id MATCH (r:Record {graph: $graph, id: id}) "
    f"MATCH (r)-[tie:{TO_HUBS}|PARENT]->(to) DELETE tie "
    "WITH DISTINCT to WHERE to:Hub RETURN to.type AS type, to.key AS key"
)
_TIE = (
    "UNWIND $rows AS row "
    "MERGE (h:Hub {{graph: $graph, type: '{type}', key: row.key}}) ON CREATE SET h:{label} "
    # By what the transaction itself was told: no index is asked for a record at each relation.
    "WITH h, row UNWIND row.members AS node MATCH (r) WHERE elementId(r) = node "
    "CREATE (r)-[:{relation} {{hub: row.hub, place: r.place, at: r.at}}]->(h)"
)
_TIES = {
    hub_type.name: _TIE.format(
        type=hub_type.name, label=hub_type.name.title(), relation=hub_type.relation
    )
    for hub_type in HUB_TYPES
}
_PARENTS = (
    "UNWIND $ids AS id MATCH (child:Record {graph: $graph, id: id}) "
    "MATCH (parent:Record {graph: $graph, id: child.parent}) "
    "MERGE (child)-[tie:PARENT]->(parent) ON CREATE SET tie.at = child.at"
)
_CHILDREN = (
    "UNWIND $ids AS id MATCH (child:Record {graph: $graph, parent: id}) "
    "MATCH (parent:Record {graph: $graph, id: id}) "
    "MERGE (child)-[tie:PARENT]->(parent) ON CREATE SET tie.at = child.at"
)
_FORGET = (
    "UNWIND $ids AS id MERGE (r:Record {graph: $graph, id: id}) "
    "MERGE (f:Forgotten {graph: $graph, id: id}) "
    # The latest of three: whose clock is behind deletes for good all the same.
    "WITH r, f, reduce(latest = $at, each IN [f.forgotten_at, r.received_at] | "
    "CASE WHEN each > latest THEN each ELSE latest END) AS latest "
    "SET f.forgotten_at = latest "
    f"WITH r OPTIONAL MATCH (r)-[:{TO_HUBS}]->(h:Hub) "
    "WITH r, collect({type: h.type, key: h.key}) AS hubs DETACH DELETE r "
    "WITH hubs UNWIND hubs AS hub WITH DISTINCT hub WHERE hub.key IS NOT NULL "
    "RETURN hub.type AS type, hub.key AS key"
)
_DROP_UNUSED = (
    "UNWIND $hubs AS hub MATCH (h:Hub {graph: $graph, type: hub.type, key: hub.key}) "
    # Writing anything locks the node: who ties a record to it meanwhile is waited for.
    "SET h.key = h.key WITH h WHERE NOT EXISTS { (h)<--() } DELETE h"
)
_FORGOTTEN_LONG_AGO = (
    "MATCH (f:Forgotten) WHERE f.graph = $graph AND f.forgotten_at < $before "
    "WITH f LIMIT 1000 DELETE f"
)
_ALL_REMEMBERED = (
    "MATCH (f:Forgotten) WHERE f.graph = $graph AND f.forgotten_at >= $forever "
    "SET f.forgotten_at = $now"
)

Hub = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it is put in. ``values`` are its node's properties."""

    id: RecordId
    values: dict[str, Any]
    hubs: tuple[tuple[HubType, str], ...]


def rows_of(records: Sequence[GraphRecord]) -> list[Row]:
    """The last of each id, in the order of ids."""
    latest = {record.facets.id: record.facets for record in records}
    return [_row(latest[record_id]) for record_id in sorted(latest)]


def put(transaction: Transaction, graph: str, rows: Sequence[Row], *, filling: bool) -> None:
    """Add or replace. ``filling``: what was deleted since the build began stays deleted."""
    values = [row.values for row in rows]
    found = transaction.run(_PUT, rows=values, graph=graph, filling=filling).data()
    changed = {row["id"]: row["node"] for row in found if not row["same"]}
    known = [row["id"] for row in found if row["known"] and not row["same"]]
    left = _pairs(transaction.run(_UNTIE, ids=known, graph=graph).data()) if known else []
    tied = set()
    for hub_type, members in _by_hub(rows, changed):
        hubs = [
            {"key": key, "hub": hub_number(graph, hub_type.name, key), "members": members[key]}
            for key in sorted(members)
        ]
        transaction.run(_TIES[hub_type.name], rows=hubs, graph=graph).consume()
        tied |= {(hub_type.name, key) for key in members}
    _drop_unused(transaction, graph, [hub for hub in left if hub not in tied])


def settle_parents(transaction: Transaction, graph: str, rows: Sequence[Row]) -> None:
    """Tie records to parents and children. Only when all see the records: of a parent and a child
    that come at the same time, the later one finds the other.
    """
    born = [row.id for row in rows if row.values["parent"] is not None]
    if born:
        transaction.run(_PARENTS, ids=born, graph=graph).consume()
    transaction.run(_CHILDREN, ids=[row.id for row in rows], graph=graph).consume()


def forget(transaction: Transaction, graph: str, ids: Sequence[RecordId], at: Micros) -> None:
    """Delete records, and the hubs that nothing else is tied to."""
    hubs = _pairs(transaction.run(_FORGET, ids=sorted(set(ids)), graph=graph, at=at).data())
    _drop_unused(transaction, graph, hubs)


def forget_deletions(transaction: Transaction, graph: str, now: Micros) -> None:
    """What was deleted long ago need not be known any more."""
    transaction.run(_FORGOTTEN_LONG_AGO, graph=graph, before=now - KEPT).consume()


def end_build(transaction: Transaction, graph: str, now: Micros) -> None:
    """What was deleted for good as long as the build went on was deleted now."""
    transaction.run(_ALL_REMEMBERED, graph=graph, forever=FOREVER, now=now).consume()


def _row(facets: Facets) -> Row:
    entry = entry_of(facets)
    hubs = tuple((HUB_TYPES[number], key) for number, key in entry.hubs)
    parent = None if entry.parent is None else id_text(entry.parent)
    order = place(facets.occurred_at, entry.turn, facets.id)
    said = "\0".join((order, parent or "", *(f"{kind.name}:{key}" for kind, key in hubs)))
    values = {
        "id": facets.id,
        "content_hash": facets.content_hash,
        "kind": facets.texts.get("kind"),
        "received_at": facets.received_at,
        "occurred_at": facets.occurred_at,
        "turn": entry.turn,
        "place": order,
        "parent": parent,
        "relations": hashlib.blake2b(said.encode(), digest_size=16).digest(),
    }
    return Row(facets.id, values, hubs)


def _by_hub(
    rows: Iterable[Row], nodes: Mapping[RecordId, str]
) -> Iterator[tuple[HubType, dict[str, list[str]]]]:
    """Of each type of hub, by key, the nodes of records: of those that are in ``nodes``."""
    found: dict[HubType, dict[str, list[str]]] = {}
    for row in rows:
        if (node := nodes.get(row.id)) is not None:
            for hub_type, key in row.hubs:
                found.setdefault(hub_type, {}).setdefault(key, []).append(node)
    yield from ((hub_type, found[hub_type]) for hub_type in HUB_TYPES if hub_type in found)


def _pairs(rows: Iterable[dict[str, Any]]) -> list[Hub]:
    return sorted((row["type"], row["key"]) for row in rows)


def _drop_unused(transaction: Transaction, graph: str, hubs: Sequence[Hub]) -> None:
    if hubs:
        asked = [{"type": type_name, "key": key} for type_name, key in hubs]
        transaction.run(_DROP_UNUSED, hubs=asked, graph=graph).consume()
