"""Starts a server, sends it the data set, and shows what a person would want to see."""

from __future__ import annotations

import argparse
import html
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from demo import proof
from demo.ageing import expect, show_ageing, show_drill
from demo.dataset import Dataset, load
from demo.engines import engines, processes
from demo.server import DemoFailed, Server, start

BATCH = 60
QUERIES = (
    ("refund", "one word"),
    ('"retry-after"', "a phrase"),
    ("consum* partition", "a prefix and a word"),
    ("退款", "Chinese, two characters"),
    ("検索", "Japanese"),
    ("الجدار", "Arabic"),
    ("remboursee", "written without its accent"),
    ("umsatzsteuer*", "German"),
)
_MARKS = re.compile(r"</?em>")
console = Console(width=110, highlight=False)


def main() -> int:
    """Run the demonstration; 0 when everything promised was seen."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the server and its data there")
    parser.add_argument(
        "--engines",
        action="store_true",
        help="on Postgres, Valkey, OpenSearch and Neo4j, with a dispatcher and workers",
    )
    options = parser.parse_args()
    if options.engines and options.keep:
        parser.error("engines are gone with the demonstration: leave out --keep")
    keep = options.keep
    root = Path(tempfile.mkdtemp(prefix="analect-demo-"))
    server: Server | None = None
    stack = ExitStack()
    try:
        server = _start(root, stack) if options.engines else _start_alone(root)
        console.print(f"[bold]Analect[/] serves at {server.url}, its data is in {server.home}\n")
        with httpx.Client(base_url=server.url, timeout=60) as client:
            show(client, server, load(datetime.now(UTC)), root)
        if keep:
            _say_where(server, root)
            return 0
        _stop(server)
        stack.close()
    except (DemoFailed, httpx.HTTPError) as error:
        console.print(f"[bold red]The demonstration failed:[/] {escape(str(error))}")
        console.print(f"What it left is in {root}")
        if server is not None:
            server.stop()
        stack.close()
        return 1
    except BaseException:  # an interrupt, or a fault of its own: leave no server behind
        if server is not None:
            server.stop()
        stack.close()
        raise
    shutil.rmtree(root)
    console.print("\nThe server has stopped; its folder is removed.")
    return 0


def _start_alone(root: Path) -> Server:
    return start(root / "data", root / "ring", root / "server.log", {})


def _start(root: Path, stack: ExitStack) -> Server:
    """The server beside engines, a dispatcher and workers."""
    console.print(
        "starting Postgres, Valkey, OpenSearch and Neo4j; the first time they are fetched ..."
    )
    there = stack.enter_context(engines())
    home, ring = root / "data", root / "ring"
    server = start(home, ring, root / "server.log", there.variables, there.folders)
    try:
        stack.enter_context(processes(home, ring, root, there.variables))
    except BaseException:
        server.stop()
        raise
    console.print(f"It stands on {', '.join(there.names)}, with a dispatcher and three workers.")
    for missing in there.missing:
        console.print(f"Left out: {missing}")
    return server


def _say_where(server: Server, root: Path) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("Still running:", f"{server.url}/docs")
    table.add_row("Stop it with:", f"kill {server.process.pid}")
    table.add_row("Its data:", str(server.home))
    table.add_row("Its key ring:", str(root / "ring"))
    table.add_row("Its log:", str(server.log))
    console.print()
    console.print(table)


def _stop(server: Server) -> None:
    code = server.stop()
    expect(code == 0, f"the server ends with code 0, not {code}")


def show(client: httpx.Client, server: Server, dataset: Dataset, root: Path) -> None:
    """Everything, one part after the other."""
    _store(client, dataset)
    _thread(client)
    _searches(client)
    _semantic(client)
    _related(client)
    _status(client)
    show_ageing(console, client, server)
    backups = show_drill(console, server, root)
    _proof(client, server, dataset, backups)


def _store(client: httpx.Client, dataset: Dataset) -> None:
    accepted = 0
    for start_at in range(0, len(dataset.records), BATCH):
        batch = dataset.records[start_at : start_at + BATCH]
        answer = _json(client.post("/v1/records?wait=indexed&timeout=60", json=batch))
        if answer["rejected"]:
            raise DemoFailed(f"records were refused: {answer['rejected'][:3]}")
        accepted += answer["accepted"]
    if accepted != len(dataset.records):
        raise DemoFailed(f"{accepted} of {len(dataset.records)} records were accepted")
    again = _json(client.post("/v1/records", json=dataset.records[:BATCH]))
    console.print(
        f"[bold]1. Stored[/] {accepted} records, each durable before it was acknowledged. "
        f"Sent {BATCH} of them again: {again['duplicates']} recognised, {again['accepted']} added."
    )


def _thread(client: httpx.Client) -> None:
    items = _json(client.get("/v1/threads/billing-double-charge"))["items"]
    console.print("\n[bold]2. A thread[/], in order, personal data replaced by stable tokens")
    messages = [item for item in items if item["kind"] == "message"]
    expect(len(messages) == 6, "the thread has six messages")
    table = Table.grid(padding=(0, 0, 0, 3), pad_edge=True)
    for item in messages:
        text = str(item.get("input") or item.get("output"))
        table.add_row(Text(item["role"], style="cyan"), Text(text))
    console.print(table)
    expect("<card:" in str(messages) and "<email:" in str(messages), "it shows tokens")


def _searches(client: httpx.Client) -> None:
    console.print("\n[bold]3. Words[/], in any script")
    table = Table.grid(padding=(0, 0, 0, 3), pad_edge=True)
    for width in (20, 11, 55, 27):
        table.add_column(no_wrap=True, overflow="ellipsis", width=width)
    for query, what in QUERIES:
        items = _search(client, query, "text")
        expect(bool(items), f"a text search for {query} finds something")
        snippet = (items[0]["highlights"] or [""])[0]
        expect("<em>" in snippet, f"the match of {query} is marked")
        table.add_row(Text(query), f"{len(items)} found", _marked(snippet), f"[dim]{what}[/]")
    console.print(table)


def _marked(snippet: str) -> Text:
    """A highlight as the server gives it (escaped HTML with ``<em>``), for a terminal."""
    text = Text()
    for place, part in enumerate(_MARKS.split(snippet.replace("\n", " "))):
        text.append(html.unescape(part), style="bold yellow" if place % 2 else "")
    return text


def _semantic(client: httpx.Client) -> None:
    console.print("\n[bold]4. Meaning[/]: no word in common is needed")
    table = Table.grid(padding=(0, 0, 0, 3), pad_edge=True)
    for width in (31, 8, 70):
        table.add_column(no_wrap=True, overflow="ellipsis", width=width)
    for query in ("I want my money back", "the machine ran out of RAM", "secrets were exposed"):
        items = _search(client, query, "semantic")
        expect(bool(items), f"a semantic search for {query} finds something")
        record = items[0]["record"]
        text = str(record.get("input") or record.get("output") or record.get("name"))
        table.add_row(query, f"{items[0]['score']:.2f}", Text(text))
    console.print(table)


def _related(client: httpx.Client) -> None:
    first = _search(client, '"leased times" OR kafka OR lagging', "text")[0]["record"]
    graph = _json(client.get(f"/v1/related/{first['id']}?depth=2&limit=40"))
    expect(len(graph["nodes"]) > 3, "a record has relations")
    console.print(
        f"\n[bold]5. Relations[/] of the message {escape(str(first.get('input'))[:60])!r}"
    )
    table = Table(box=None, padding=(0, 2))
    for column in ("distance", "type", "key", "from records"):
        table.add_column(column)
    shown = [node for node in graph["nodes"] if node["type"] != "record"][:9]
    for node in shown:
        table.add_row(
            str(node["distance"]), node["type"], escape(node["key"]), str(len(node["records"]))
        )
    console.print(table)


def _status(client: httpx.Client) -> None:
    status = _json(client.get("/v1/status"))
    console.print("\n[bold]6. Status[/]")
    store = status["store"]
    table = Table.grid(padding=(0, 0, 0, 3), pad_edge=True)
    table.add_row(
        "store", f"{store['database']}, {store['records']} records, {store['bytes']:,} bytes"
    )
    for name, index in status["indexes"].items():
        expect(index["records"] == store["records"], f"the index {name} holds every record")
        table.add_row(f"index of {name}", f"{index['state']}, {index['records']} records")
    waiting = sum(one["entries"] for one in status["processors"].values())
    table.add_row("waiting", str(waiting))
    table.add_row("in quarantine", str(len(status["quarantine"])))
    console.print(table)
    expect(waiting == 0 and not status["quarantine"], "everything is processed")


def _proof(client: httpx.Client, server: Server, dataset: Dataset, backups: Path) -> None:
    metrics = client.get("/metrics").text
    seen = proof.search(
        dataset.planted,
        [server.home, backups, *server.folders],
        {"/metrics": metrics, "log": server.log.read_text("utf-8")},
    )
    if seen.found:
        raise DemoFailed(f"personal data was found: {seen.found}")
    sent = str(dataset.records)
    expect(all(value in sent for value in dataset.planted.values()), "every value was sent")
    # A scan that finds nothing proves something only if it finds what is there.
    control = proof.search(
        {"a thread's name": "billing-double-charge"}, [server.home, *server.folders], {}
    )
    expect(bool(control.found), "the same scan finds what is stored in plain")
    console.print(
        f"\n[bold green]9. Private[/]: {seen.values} planted values (mail addresses, phones, cards, "
        f"keys, ...) were sent; none is in any of {seen.files} places, {seen.bytes:,} bytes, "
        f"of the data folder, the backup, the log and the metrics, be it as text, UTF-16, base64, hexadecimal "
        f"or URL-encoded. The same scan does find the name of a thread, which is stored in plain."
    )


def _search(client: httpx.Client, query: str, mode: str) -> list[dict[str, Any]]:
    answer = _json(client.get("/v1/search", params={"q": query, "mode": mode, "limit": 20}))
    items: list[dict[str, Any]] = answer["items"]
    return items


def _json(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise DemoFailed(f"{response.request.url.path} answered {response.text}")
    body: dict[str, Any] = response.json()
    return body


if __name__ == "__main__":
    sys.exit(main())
