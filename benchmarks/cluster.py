"""The table of the cluster's speed: what was measured beside what is asked.

    python -m benchmarks.cluster [--only NAME ...]

Real processes on a real Postgres and a real Valkey, and the engines where this machine has what
they take. A module that measures has ``MEASURES``: name -> function of a :class:`World`, which
returns figures by the name of their row.
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.cluster_world import World
from benchmarks.ending import end_whole

MODULES = ("cluster_flow", "cluster_text", "cluster_graph", "cluster_rebuild")

Measure = Callable[[World], dict[str, dict[str, Any]]]
"""Row name -> {"value": the figure in the row's unit, "note": how it came about}."""


@dataclass(frozen=True, slots=True)
class Row:
    """``asked`` in ``unit``."""

    name: str
    title: str
    unit: str
    asked: float
    more_is_better: bool = False

    def shown(self, value: float) -> str:
        """The value in its unit."""
        digits = 0 if value >= 100 else 1
        return f"{value:,.{digits}f}{self.unit}"

    def held(self, value: float) -> bool:
        """Whether it is as asked."""
        return value >= self.asked if self.more_is_better else value <= self.asked


ROWS = (
    Row(
        "flow_100",
        "dispatcher and RQ to a no-op processor, entries of 100",
        " records/s",
        10_000,
        True,
    ),
    Row("flow_1", "the same, entries of 1", " records/s", 300, True),
    Row("depth_memory", "dispatcher, 5,000,000 records in 500,000 entries", " MiB", 150),
    Row("depth_claim", "a claim at that depth, p95", " ms", 20),
    Row("text", "text end to end, of a bare `_bulk`", "%", 70, True),
    Row("searchable", "ack to searchable, p99 at 100 records/s", " s", 3),
    Row("search", "search above the engine's own time, p95", " ms", 15),
    Row("rebuild_memory", "rebuild of the words, resident at the most", " MiB", 400),
    Row("rebuild_repeated", "done twice when it is killed", "%", 5),
    Row("graph", "graph end to end, of a bare UNWIND/MERGE", "%", 70, True),
)


def measures() -> Iterator[tuple[str, Measure]]:
    """Every measure that is there."""
    for module in MODULES:
        if find_spec(f"benchmarks.{module}") is not None:
            yield from importlib.import_module(f"benchmarks.{module}").MEASURES.items()


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| | asked | measured |", "|---|---|---|"]
    for row in ROWS:
        asked = ("≥ " if row.more_is_better else "≤ ") + row.shown(row.asked)
        found = results.get(row.name)
        seen = "-"
        if found is not None:
            seen = row.shown(found["value"]) + ("" if row.held(found["value"]) else " **(short)**")
        lines.append(f"| {row.title} | {asked} | {seen} |")
    notes = [f"- {name}: {found['note']}" for name, found in results.items()]
    return "\n".join([*lines, "", *notes])


def measured(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """One measure in a world of its own."""
    with World.started(folder) as world:
        return dict(measures())[name](world)


def alone(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """In a process of its own: what one installs or sets must not be there for the next."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measured, name, folder).result()


def main() -> None:
    there = dict(measures())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=sorted(there), default=list(there))
    options = parser.parse_args()
    end_whole()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="analect-cluster-") as folder:
        for name in options.only:
            began = time.perf_counter()
            try:
                found = alone(name, Path(folder) / name)
            except Exception as error:  # the other rows are still worth having
                print(f"{name} failed: {type(error).__name__}: {error}", flush=True)
                continue
            results |= found
            for row, figure in found.items():
                print(f"{row}: {figure['value']:,.2f} ({figure['note']})", flush=True)
            print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    print(f"\n{os.cpu_count()} CPUs, load average {os.getloadavg()[1]:.1f}\n")
    print(table(results))


if __name__ == "__main__":
    main()
