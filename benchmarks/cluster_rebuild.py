"""A rebuild of the words in OpenSearch: what memory it takes, and what is done twice when it is
killed on the way. ``ANALECT_REBUILD_RECORDS`` says how many records (a million take a quarter of
an hour to store and to rebuild).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from analect.index.opensearch import OpenSearchTextIndex
from analect.model.ids import RecordId
from analect.service import AnalysisService
from benchmarks.cluster_text import drafts, searched
from benchmarks.cluster_world import World, ingested, wait_until

RECORDS = int(os.environ.get("ANALECT_REBUILD_RECORDS", "100000"))
KILLED_AT = 0.6
_MADE = 10_000
_BATCH = 500
_LOOK_SECONDS = 0.1


def rebuild(world: World) -> dict[str, dict[str, Any]]:
    """Kill one when it is so far; the next goes on. Records of about 1 KB, in Postgres."""
    with searched(world), AnalysisService.open(world.settings()) as service:
        ids = _stored(service)
        index = cast("OpenSearchTextIndex", service._parts.indexes.text)  # noqa: SLF001
        family = index._family  # noqa: SLF001

        def noted() -> int:
            """Records up to the place that was written down last."""
            reached = family.control.read().reached
            return 0 if reached is None else bisect_right(ids, RecordId(reached))

        began = time.perf_counter()
        first = _rebuilding(world)
        peak = _watch(first, until=lambda: noted() >= KILLED_AT * RECORDS)
        first.kill()
        first.wait()
        killed_after = time.perf_counter() - began
        kept = noted()
        pattern = family.pattern(cast("int", family.control.read().building))
        family.engine.request("POST", f"/{pattern}/_refresh")
        held = int(family.engine.request("GET", f"/{pattern}/_count")["count"])
        second = _rebuilding(world)
        peak = max(peak, _watch(second, until=lambda: second.poll() is not None))
        seconds = time.perf_counter() - began
        assert second.returncode == 0
        wait_until(lambda: index.count() == RECORDS)
    note = (
        f"{RECORDS:,} records of about 1 KB from Postgres into OpenSearch in {seconds:,.0f} s; "
        f"killed after {killed_after:,.0f} s with {held:,} of them in, gone on with from {kept:,}"
    )
    return {
        "rebuild_memory": {"value": peak, "note": note},
        "rebuild_repeated": {"value": 100 * (held - kept) / RECORDS, "note": "of all the work"},
    }


def _stored(service: AnalysisService) -> list[RecordId]:
    """The same texts again and again; the ids in their order."""
    made = drafts(min(RECORDS, _MADE))
    ids: list[RecordId] = []
    while len(ids) < RECORDS:
        part = [replace(one, tags=list(one.tags)) for one in made[: RECORDS - len(ids)]]
        ids += ingested(service, part, _BATCH)
    return sorted(ids)


def _rebuilding(world: World) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "analect.cli", "rebuild", "text", "--json"]
    with (world.root / "rebuild.log").open("ab") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **world.variables}, stdout=log, stderr=log
        )
    world.processes.append(cast("subprocess.Popen[str]", process))
    return process


def _watch(process: subprocess.Popen[bytes], *, until: Callable[[], bool]) -> float:
    """MiB resident at the most, until something is so or the process ends."""
    peak = 0.0
    while not until() and process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        peak = max([peak, *(one / 1024 for one in found)])
        time.sleep(_LOOK_SECONDS)
    return peak


MEASURES = {"rebuild": rebuild}
