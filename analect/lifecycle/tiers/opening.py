"""The tiers of a store, opened when there is something in them: Arrow is slow to load."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from analect.lifecycle.places.opening import open_place
from analect.lifecycle.places.place import Place
from analect.model.errors import ConfigurationError
from analect.model.ids import Clock, RandomBytes, RecordId, month_of
from analect.model.query import RecordFilter
from analect.privacy.seal import Sealer
from analect.settings import Settings
from analect.store.filters import Span
from analect.store.rows import StoredRecord
from analect.store.survivors import Survivors
from analect.store.tier_files import TierFiles

if TYPE_CHECKING:
    from analect.lifecycle.tiers.cold import ColdReads
    from analect.lifecycle.tiers.erasing import FiledErasure
    from analect.lifecycle.tiers.warm import WarmReads

TIERS = "tiers"


def tiers_place(settings: Settings) -> Place:
    """Where the files of the tiers are: as set, or a folder in the home.

    Raises:
        ConfigurationError: the address is wrong.
    """
    address = settings.tiers.place or str(settings.home.resolve() / TIERS)
    return open_place(address, settings.objects)


class FiledTiers:
    """See :class:`analect.lifecycle.tiers.reads.Files`. Thread-safe."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._files = TierFiles(engine)
        self._warm: WarmReads | None = None
        self._lock = threading.Lock()

    def warm(self) -> WarmReads | None:
        """Reads of the warm tier; None while it is empty.

        Raises:
            ConfigurationError: there are warm files, and the extra that reads them is not there.
        """
        if not self._files.any():
            return None
        with self._lock:
            if self._warm is None:
                need_archive()
                from analect.lifecycle.tiers.shelf import Shelf
                from analect.lifecycle.tiers.warm import WarmReads

                shelf = Shelf(tiers_place(self._settings), self._files)
                self._warm = WarmReads(self._files, shelf)
            return self._warm

    def erasing(
        self, sealer: Sealer, clock: Clock, random_bytes: RandomBytes
    ) -> FiledErasure | None:
        """What erases in files; None while there are none.

        Raises:
            ConfigurationError: there are files, and the extra that reads them is not there.
        """
        if not self._files.any():
            return None
        need_archive()
        from analect.lifecycle.tiers.erasing import FiledErasure
        from analect.lifecycle.tiers.moving import Mover
        from analect.lifecycle.tiers.tables import TierTables

        place = tiers_place(self._settings)
        mover = Mover(self._engine, self._files, place, clock=clock, random_bytes=random_bytes)
        tables = TierTables(self._files, place)
        return FiledErasure(self._files, tables, mover, Survivors(self._engine, sealer))

    def may_be_cold(self, record_id: RecordId) -> bool:
        """Whether there are cold files in which a record of this id could be."""
        standing = self._files.standing("cold", month=month_of(record_id))
        return any(one.first_id <= record_id <= one.last_id for one in standing)

    def cold_within(
        self, where: RecordFilter, span: Span, limit: int, *, descending: bool
    ) -> Sequence[StoredRecord]:
        """At most ``limit`` cold records that pass, in the order of ids.

        Raises:
            ConfigurationError: there are cold files, and the extra that reads them is not there.
        """
        cold = self._cold()
        return [] if cold is None else cold.within(where, span, limit, descending=descending)

    def cold_scan(self, where: RecordFilter, span: Span) -> Iterator[StoredRecord]:
        """Every cold record that passes, in the order of ids.

        Raises:
            ConfigurationError: as :meth:`cold_within`.
        """
        cold = self._cold()
        return iter(()) if cold is None else cold.scan(where, span)

    def _cold(self) -> ColdReads | None:
        if not self._files.any():
            return None
        need_archive()
        from analect.lifecycle.tiers.cold import ColdReads

        return ColdReads(self._files, tiers_place(self._settings))


def need_archive() -> None:
    """Raises:
    ConfigurationError: the extra is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ConfigurationError(
            "warm and cold records need the extra archive: pip install 'analect[archive]'"
        )
