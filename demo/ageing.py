"""A month that ages to warm files, and a backup that a drill proves: what time does to a store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
from rich.console import Console
from rich.table import Table

from demo.dataset import load
from demo.server import DemoFailed, Server

THREAD = "billing-double-charge"
_BATCH = 100
_AGE = timedelta(days=150)
"""Before the first of this month: the month is older than the 90 days that records stay hot."""


def show_ageing(console: Console, client: httpx.Client, server: Server) -> None:
    """The same conversations once more, of a month long past; then the daily job."""
    month = (datetime.now(UTC).replace(day=1) - _AGE).replace(day=25)
    records = load(month).records
    for start in range(0, len(records), _BATCH):
        answer = client.post("/v1/records", json=records[start : start + _BATCH])
        expect(answer.is_success and not answer.json()["rejected"], "old records are taken")
    report = command(server, "archive")
    moved = report["retention"]["archived"]
    expect(moved == len(records), f"the daily job moves {len(records)} records, not {moved}")
    warm = server.home / "tiers" / "warm"
    files = list(warm.rglob("*.parquet"))
    size = sum(path.stat().st_size for path in files)
    console.print(
        f"\n[bold]7. Ageing[/]: {len(records)} records of {month:%B %Y} came too. The daily job "
        f"(`analect archive`) took {moved} of them from SQL into {len(files)} Parquet files of "
        f"{size:,} bytes, read back and compared before a row went."
    )
    _show_thread(console, client)
    _show_files(console, warm)


def _show_thread(console: Console, client: httpx.Client) -> None:
    began = time.monotonic()
    answer = client.get(f"/v1/threads/{THREAD}?limit=100").json()
    took = (time.monotonic() - began) * 1000
    tiers = [item.get("tier", "hot") for item in answer["items"]]
    expect({"warm", "hot"} == set(tiers), "one thread is answered from both tiers")
    console.print(
        f"   One thread over both: {tiers.count('warm')} warm and {tiers.count('hot')} hot records, "
        f"in order, payloads opened, in {took:.0f} ms."
    )


def _show_files(console: Console, warm: Path) -> None:
    console.print("   The files, read by DuckDB alone:")
    table = Table(box=None, padding=(0, 2), pad_edge=True)
    for column in ("month", "kind", "records", "cost"):
        table.add_column(column, justify="right" if column in {"records", "cost"} else "left")
    rows = duckdb.sql(
        "SELECT month, kind, count(*), round(sum(cost), 4)"
        f" FROM read_parquet('{warm}/*/*/*.parquet', hive_partitioning = true)"
        " GROUP BY ALL ORDER BY 1, 3 DESC"
    ).fetchall()
    expect(bool(rows), "DuckDB reads the files")
    for month, kind, records, cost in rows:
        table.add_row(month, kind, str(records), "" if cost is None else f"{cost:.4f}")
    console.print(table)


def show_drill(console: Console, server: Server, root: Path) -> Path:
    """A backup, encrypted, and the proof that it can be restored; where it is."""
    backups = root / "backups"
    command(server, "keys", "export-recovery", str(root / "recovery.key"))
    made = command(server, "backup", "create", str(backups), "--i-have-the-recovery-key")
    drill = command(server, "drill", str(backups))
    (listed,) = command(server, "backup", "list", str(backups))["items"]
    expect(listed["state"] == "VERIFIED", "a drill that passed makes the backup VERIFIED")
    console.print(
        f"\n[bold]8. Backup and drill[/]: {made['rows']} rows in {made['bytes']:,} bytes, encrypted, "
        f"while the server runs. The drill restored it into a scratch place, compared every hash, "
        f"opened {drill['opened']} payloads: it is [bold]{listed['state']}[/]. Recovery took "
        f"{drill['recovery']:.1f} s (RTO), the data was {drill['age']:.1f} s old (RPO)."
    )
    return backups


def command(server: Server, *words: str) -> dict[str, Any]:
    """What `analect` says, run beside the server.

    Raises:
        DemoFailed: it failed; the message is what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "analect.cli", *words, "--json"],
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise DemoFailed(f"analect {' '.join(words)} failed: {done.stderr[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def expect(seen: bool, what: str) -> None:
    """Raises:
    DemoFailed: it was not seen.
    """
    if not seen:
        raise DemoFailed(f"expected that {what}")
