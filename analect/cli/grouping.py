"""aggregate: figures of records by group."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import typer

from analect.cli.filters import filtered
from analect.cli.session import Session, command
from analect.model.query import RecordFilter

_FIGURES = (
    *("records", "successes", "failures", "input_tokens", "output_tokens", "cost"),
    *("duration_mean", "duration_max", "rating_mean"),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "aggregate", remote=True)(filtered(aggregate))


def aggregate(
    session: Session,
    *,
    wanted: RecordFilter,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="NAMES",
            help="Names between commas: fields, hour, day, month (UTC), dim.NAME.",
        ),
    ] = "kind",
    tier: Annotated[
        Literal["hot", "warm"] | None, typer.Option("--tier", help="Of this tier alone.")
    ] = None,
) -> None:
    """Count and add up hot and warm records, by any fields."""
    names = [name.strip() for name in by.split(",") if name.strip()]
    with session.reader() as reader:
        items = reader.aggregate(replace(wanted, tier=tier), names)
    if session.json:
        session.out.value({"items": items, "next": None})
        return
    rows = [{**item["group"], **{name: item[name] for name in _FIGURES}} for item in items]
    session.out.table({name: name for name in (*names, *_FIGURES)}, rows)
