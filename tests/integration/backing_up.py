"""A store and the backups of it, for the tests of backups."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from analect.lifecycle.backup.drill import Driller
from analect.lifecycle.backup.erased import ErasedList
from analect.lifecycle.backup.files import files_out
from analect.lifecycle.backup.job import BackupJob
from analect.lifecycle.backup.keys import BackupKeys
from analect.lifecycle.backup.manifest import Catalog
from analect.lifecycle.backup.restore import restore
from analect.lifecycle.backup.write import settled, snapshot, tables_of
from analect.lifecycle.places.opening import open_place
from analect.model.record import Draft
from analect.privacy.keyring import FolderKeyRing
from analect.privacy.keys import open_data_keys
from analect.store.changes import HEADS, LOG
from analect.store.engine import open_engine
from analect.store.key_rows import SqlKeyRows
from analect.store.raw import raw_table, read_rows


def clock():
    return time.time_ns() // 1000


def drafts(count, **fields):
    return [Draft(input=f"question {i} of many", tags=("t",), **fields) for i in range(count)]


class Backed:
    """A store, and the backups of it in a folder, or in what an address names."""

    def __init__(self, settings, folder):
        self.settings = settings
        self.engine = open_engine(settings.database_url.get_secret_value())
        rows = SqlKeyRows(self.engine)
        self.keys = open_data_keys(settings, rows, clock=clock, random_bytes=os.urandom)
        self.folder = folder
        self.catalog = self.catalog_with(self.keys.pseudonym_key)

    def catalog_with(self, key):
        store = SqlKeyRows(self.engine).store_id()
        place = open_place(str(self.folder), self.settings.objects)
        return Catalog(place, store, BackupKeys(key, os.urandom))

    def job(self, *, files=None, **options):
        """``files``: copied, or left where they are; as the settings have it when not given."""
        out = files_out(self.settings, self.catalog, files)
        if checkpoint := options.get("checkpoint"):
            out = replace(out, checkpoint=checkpoint)
        return BackupJob(self.engine, self.catalog, clock, os.urandom, files=out, **options)

    def write(self):
        return self.job().full()

    def erased(self):
        return ErasedList(FolderKeyRing(self.settings.ring), self.keys.pseudonym_key).all()

    def drill(self, backup=None, scratch=None):
        driller = Driller(
            self.catalog,
            self.keys.shards,
            erased=self.erased(),
            clock=clock,
            random_bytes=os.urandom,
        )
        return driller.drill(backup, scratch or self.folder.parent)

    def restore(self, url, link=None, **options):
        engine = open_engine(url)
        try:
            link = link or self.catalog.newest()
            given = {"erased": self.erased(), **options}
            return restore(engine, self.catalog, link, self.keys.shards, **given)
        finally:
            engine.dispose()

    def object(self, name):
        return self.folder / self.catalog.path(self.catalog.ids()[-1], name)


def everything(engine):
    """Every row of every table, what backups alone know of aside."""
    with snapshot(engine) as connection:
        tables = [*tables_of(connection), raw_table(connection, "record_tags")]
        rows = {
            table.name: sorted(settled(table, read_rows(connection, table)), key=table.key_of)
            for table in tables
        }
    rows["meta"] = [row for row in rows["meta"] if row[0] not in {HEADS, LOG}]
    return rows
