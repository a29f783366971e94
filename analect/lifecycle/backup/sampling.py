"""Looking into a store that was restored for a look: payloads that open, and a search that finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine, func, select

from analect.index.catalog import Indexes
from analect.index.projection import text_of
from analect.index.text.embedded import EmbeddedTextIndex
from analect.lifecycle.places.place import Place
from analect.model.errors import Corrupt
from analect.model.query import RecordFilter
from analect.model.record import Record
from analect.privacy.keys import DataKey
from analect.privacy.seal import Sealer, key_id_of
from analect.store.engine import read_transaction
from analect.store.rows import COLUMNS, StoredRecord, stored_record
from analect.store.tables import records
from analect.store.tier_files import TierFile, TierFiles

SAMPLE = 200
"""Payloads that are opened, spread over the whole of the records."""
FILES = 4
"""Files that are laid out again and read, spread over all."""
OF_A_FILE = 50

KeysOf = Callable[[Sequence[int]], Mapping[int, DataKey]]
_WORD = re.compile(r"\w{3,}")


@dataclass(frozen=True, slots=True)
class Looked:
    """``opened``: payloads that opened; ``found``: whether a search found one of their records by
    a word in it; None when there was no word to search for.
    """

    opened: int
    found: bool | None


def look(
    stored: Sequence[StoredRecord], keys: Mapping[int, DataKey], sealer: Sealer, scratch: Path
) -> Looked:
    """Open payloads, make a text index of them below ``scratch``, and search it. Payloads whose keys
    are gone stay shut.

    Raises:
        Corrupt: a payload does not open, or the search does not find what is there.
    """
    opened = [
        _opened(one, keys, sealer)
        for one in stored
        if one.payload and key_id_of(one.payload) in keys
    ]
    return Looked(len(opened), _search(opened, scratch))


def hot_sample(engine: Engine) -> list[StoredRecord]:
    """Sealed records, spread evenly over all of them."""
    sealed = records.c.key_id.is_not(None)
    with read_transaction(engine) as connection:
        total = connection.execute(select(func.count()).where(sealed)).scalar_one()
        ids = select(records.c.id).where(sealed).order_by(records.c.id)
        with connection.execute(ids.execution_options(yield_per=1_000)) as answer:
            step = max(1, total // SAMPLE)
            wanted = list(islice(answer.scalars(), 0, None, step))[:SAMPLE]
        columns = [records.c[name] for name in COLUMNS]
        found = connection.execute(select(*columns).where(records.c.id.in_(wanted)))
        return [stored_record(row) for row in found]


def spread(files: Sequence[TierFile]) -> list[TierFile]:
    """Some of the files."""
    return list(files[:: max(1, len(files) // FILES)][:FILES])


def filed_sample(engine: Engine, tiers: Place, files: Sequence[TierFile]) -> list[StoredRecord]:
    """The first sealed records of files that lie in ``tiers``.

    Raises:
        Corrupt: a file is no whole one.
    """
    from analect.lifecycle.tiers.columns import stored_records
    from analect.lifecycle.tiers.tables import TierTables

    tables = TierTables(TierFiles(engine), tiers)

    def of(file: TierFile) -> Iterator[StoredRecord]:
        for table in tables.tables(file):
            yield from (one for one in stored_records(table, file.tier) if one.payload)

    return [one for file in files for one in islice(of(file), OF_A_FILE)]


def _opened(one: StoredRecord, keys: Mapping[int, DataKey], sealer: Sealer) -> Record:
    parts = sealer.open(one.payload or b"", one.record.id, keys)
    if len(parts) != len(("input", "output", "variables", "attributes")):
        raise Corrupt(f"the payload of record {one.record.id} is not whole")
    given, answer, variables, attributes = parts
    return replace(
        one.record, input=given, output=answer, variables=variables, attributes=attributes
    )


def _search(sample: Sequence[Record], scratch: Path) -> bool | None:
    """Whether the first record that has a word is found by it."""
    words = ((one, _WORD.search(text_of(one))) for one in sample)
    wanted = next(((one, word[0]) for one, word in words if word is not None), None)
    if wanted is None:
        return None
    record, word = wanted
    index = EmbeddedTextIndex(scratch)
    try:
        refused = Indexes(text=index).fill("text", index, sample)
        found = {hit.id for hit in index.search(word, RecordFilter(), len(sample), None)}
    finally:
        index.close()
    if refused or record.id not in found:
        raise Corrupt(f"a search in the restored store does not find record {record.id}")
    return True
