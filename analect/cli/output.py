"""Standard output for what was asked, standard error for what people should know besides."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

from analect.model.flat import format_time
from analect.model.record import PAYLOAD_FIELDS

if TYPE_CHECKING:
    from analect.sources.importing import Refusal

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Stored text must not steer the terminal."""


@dataclass(frozen=True, slots=True)
class Output:
    """Prints for machines (``json``) or for people."""

    json: bool

    def value(self, value: Any) -> None:
        """One JSON value; nested tables of names and values for people."""
        if self.json:
            write_json(value)
        else:
            self.lines(_described(plain(value)))

    def stream_item(self, value: Any) -> None:
        """One line of JSON, at once."""
        write_json(value)
        sys.stdout.flush()

    def lines(self, lines: Iterable[str]) -> None:
        """Text, freed of control characters; at once, for who follows it through a pipe."""
        for line in lines:
            sys.stdout.write(clean(line) + "\n")
        sys.stdout.flush()

    def table(self, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows under the titles of ``columns`` (name of the value -> title)."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for title in columns.values():
            table.add_column(title, no_wrap=title in {"id", "when"}, overflow="ellipsis")
        for row in rows:
            table.add_row(*(Text(clean(text_of(row.get(name)))) for name in columns))
        Console(width=None if sys.stdout.isatty() else 160).print(table)

    def note(self, message: str) -> None:
        """For people only, on standard error."""
        if not self.json:
            sys.stderr.write(clean(message) + "\n")

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[int, int | None], None]]:
        """A bar on a terminal, told (done, total or ``None``); silent elsewhere."""
        if self.json or not sys.stderr.isatty():
            yield lambda _done, _total: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def write_json(value: Any) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, default=str) + "\n")


_TIMES = frozenset({"at", "log_until"})
_OF_CALLERS = frozenset({*PAYLOAD_FIELDS, "measures"})
"""What is in these a caller named: a number called ``created_at`` there stays that number."""


def plain(value: Any) -> Any:
    """Dataclasses as objects, and their times (whole numbers named ``…_at``, and a few by other
    names) as RFC 3339.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(name): _told(str(name), inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    return value


def _told(name: str, value: Any) -> Any:
    if name in _OF_CALLERS:
        return value
    if type(value) is int and (name.endswith("_at") or name in _TIMES):
        return format_time(value)
    return plain(value)


def clean(text: str) -> str:
    """Text without control characters."""
    return text.translate(_CONTROLS)


def text_of(value: Any, *, indent: int | None = None) -> str:
    """A value as people read it: text as it is, anything else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def brief(value: Any, length: int = 60) -> str:
    """The beginning of a value, on one line."""
    line = " ".join(text_of(value).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def refused(refusal: Refusal, **where: Any) -> dict[str, Any]:
    """What is written of an item that was not taken: where it stands, and why."""
    said = {
        **where,
        "code": refusal.code,
        "field": refusal.field,
        "reason": refusal.reason,
    }
    return {name: value for name, value in said.items() if value is not None}


def _described(value: Any, depth: int = 0) -> Iterator[str]:
    space = "  " * depth
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, (Mapping, list)) and inner:
                yield f"{space}{name}:"
                yield from _described(inner, depth + 1)
            else:
                yield f"{space}{name}: {'-' if inner in (None, [], {}) else text_of(inner)}"
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, Mapping):
                first, *rest = [*_described(inner, depth + 1)] or [""]
                yield f"{space}- {first.strip()}"
                yield from rest
            else:
                yield f"{space}- {text_of(inner)}"
    else:
        yield f"{space}{text_of(value)}"
