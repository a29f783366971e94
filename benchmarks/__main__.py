"""The table of speed and size: what was measured beside what is asked.

    python -m benchmarks [--quick | --full] [--only NAME ...] [--database sqlite|postgres]

Quick takes some minutes and fills stores with 50,000 records; full goes to 1,000,000. Each
finding is written to results.json in the folder as soon as it is there, and the table shows what
was found for the same scale before, so that a run can be taken up again with --only.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ending import end_whole
from benchmarks.measuring import FULL, MEASURES, QUICK
from benchmarks.serving import DATABASES, Places


@dataclass(frozen=True, slots=True)
class Row:
    """``asked``: by database; None where nothing is asked."""

    name: str
    title: str
    unit: str
    asked: tuple[float | None, float | None]
    more_is_better: bool = False

    def shown(self, value: float) -> str:
        """The value in its unit."""
        digits = 0 if value >= 100 else 2 if value < 10 else 1
        return f"{value:,.{digits}f}{self.unit}"

    def held(self, value: float, asked: float) -> bool:
        """Whether the value is as asked."""
        return value >= asked if self.more_is_better else value <= asked


ROWS = (
    Row(
        "first",
        "1 KB records, 3 tags, batches of 100, 4 connections, indexed later",
        "/s",
        (8000, 8000),
        True,
    ),
    Row("sustained", "the same from nothing, indexers running", "/s", (5000, 5000), True),
    Row("single", "one record a request, 8 connections", "/s", (1000, 1000), True),
    Row("half", "p99 of a batch at 4,000 records/s", " ms", (100, 100)),
    Row("findable", "ack to findable by text, p99 at 500 records/s", " s", (2, None)),
    Row("size", "on disk per 4 KB record, truth only", " KB", (2.7, 3)),
    Row("text", "text search, p95 of the mix", " ms", (100, None)),
    Row("semantic", "semantic search, p95", " ms", (30, None)),
    Row(
        "pages",
        "page of 50 by thread, session, kind, tag or time, p95 of the worst",
        " ms",
        (20, 20),
    ),
    Row(
        "filters", "page of 50 by another filter within a day, p95 of the worst", " ms", (100, 100)
    ),
    Row("memory", "memory of `serve` under sustained load", " MiB", (300, 300)),
)


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| | SQLite asked | SQLite measured | Postgres 18 asked | Postgres 18 measured |",
        "|---|---|---|---|---|",
    ]
    notes = []
    for row in ROWS:
        cells = [row.title]
        for database, asked in zip(DATABASES, row.asked, strict=True):
            sign = "≥" if row.more_is_better else "≤"
            cells.append("" if asked is None else f"{sign} {row.shown(asked)}")
            found = results.get(f"{database} {row.name}")
            if found is None:
                cells.append("-")
                continue
            mark = "" if asked is None or row.held(found["value"], asked) else " **(short)**"
            cells.append(row.shown(found["value"]) + mark)
            notes.append(f"- {database}, {row.name}: {found['note']}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the default")
    parser.add_argument("--full", action="store_true", help="1,000,000 records")
    parser.add_argument("--only", nargs="+", choices=sorted(MEASURES), default=list(MEASURES))
    parser.add_argument("--database", choices=DATABASES, nargs="+", default=list(DATABASES))
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "analect-benchmarks"
    )
    options = parser.parse_args()
    scale, label = (FULL, "full") if options.full else (QUICK, "quick")
    end_whole()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / f"results-{label}.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    places = Places(options.folder)
    try:
        for name in options.only:
            for database in options.database:
                began = time.perf_counter()
                try:
                    found = MEASURES[name](places, database, scale)
                except Exception as error:  # the other rows are still worth having
                    print(f"{database} {name} failed: {type(error).__name__}: {error}", flush=True)
                    continue
                for row, figure in found.items():
                    load = f"load average before and after {os.getloadavg()[1]:.1f}"
                    results[f"{database} {row}"] = {**figure, "load": load}
                    print(
                        f"{database} {row}: {figure['value']:,.2f} ({figure['note']})", flush=True
                    )
                print(f"  {time.perf_counter() - began:.0f} s", flush=True)
                kept.write_text(json.dumps(results, indent=1))
    finally:
        places.close()
    print(f"\n{label}, {os.cpu_count()} CPUs, load average {os.getloadavg()[1]:.1f}\n")
    print(table(results))


if __name__ == "__main__":
    main()
