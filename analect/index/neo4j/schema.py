"""Names of what Analect keeps in a Neo4j database, and what must be unique or found quickly.

    (:Record)-[:IN]->(:Thread | :Session | :Process | :Subject)
    (:Record)-[:OF]->(:Service | :Model)    (:Record)-[:TAGGED]->(:Tag)
    (:Record)-[:ABOUT]->(:Topic)            (:Record)-[:USES]->(:Document)
    (:Record)-[:PARENT]->(:Record)

Each node says in ``graph`` which store and generation it belongs to. All but records are also a
``Hub``, with ``type`` and ``key``. Each relation says in ``at`` when; ``place`` orders the records
of a hub by time, turn and id, and ``hub`` is the hub's number, so that an index finds the newest
or the next one of millions. ``AnalectGraph`` names the generation that answers; ``Forgotten`` is
what is left of a deleted record for a while: its id, and when that was.
"""

from __future__ import annotations

import hashlib
import struct

from analect.index.graph.parts import HUB_TYPES
from analect.model.ids import Micros, RecordId

RELATIONS = tuple(dict.fromkeys(hub_type.relation for hub_type in HUB_TYPES))
TO_HUBS = "|".join(RELATIONS)

STATEMENTS = (
    ("CREATE CONSTRAINT analect_graph IF NOT EXISTS FOR (n:AnalectGraph) REQUIRE n.name IS UNIQUE"),
    (
        "CREATE CONSTRAINT analect_record IF NOT EXISTS FOR (n:Record) "
        "REQUIRE (n.graph, n.id) IS UNIQUE"
    ),
    (
        "CREATE CONSTRAINT analect_hub IF NOT EXISTS FOR (n:Hub) "
        "REQUIRE (n.graph, n.type, n.key) IS UNIQUE"
    ),
    (
        "CREATE CONSTRAINT analect_forgotten IF NOT EXISTS FOR (n:Forgotten) "
        "REQUIRE (n.graph, n.id) IS UNIQUE"
    ),
    (
        "CREATE INDEX analect_forgotten_at IF NOT EXISTS FOR (n:Forgotten) "
        "ON (n.graph, n.forgotten_at)"
    ),
    "CREATE INDEX analect_parent IF NOT EXISTS FOR (n:Record) ON (n.graph, n.parent)",
    *(
        f"CREATE INDEX analect_{relation.lower()} IF NOT EXISTS FOR ()-[r:{relation}]-() "
        "ON (r.hub, r.place)"
        for relation in RELATIONS
    ),
)

_SIGN = 1 << 63


def place(occurred_at: Micros, turn: float | None, record_id: RecordId) -> str:
    """Orders records by time, turn (those without one first) and id: 50 hexadecimal digits."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", -1.0 if turn is None else turn))
    rising = bits ^ (_SIGN | (_SIGN - 1) if bits & _SIGN else _SIGN)
    # The beginning of an id is its time.
    return f"{occurred_at:014x}{rising:016x}{record_id.replace('-', '')[12:]}"


def hub_number(graph: str, type_name: str, key: str) -> int:
    """What relations to this hub are found by."""
    message = f"{graph}\0{type_name}\0{key}".encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "big", signed=True)
