"""Every command group in one application. What is heavy is imported where a command runs."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from analect.cli import (
    backing,
    erasing,
    exchanging,
    grouping,
    keys,
    migrating,
    pipeline,
    processing,
    reading,
    restoring,
    retaining,
    serving,
    upkeep,
)
from analect.cli.session import group_of, overview

EPILOG = (
    "Exit codes: 0 done, 1 unexpected, 2 wrong usage, 3 try again later, 4 it will not work "
    "like this. The store is the folder --home or ANALECT_HOME names, or the database of "
    "ANALECT_DATABASE_URL."
)

app = group_of(
    "Keeps what language-model programs say and conclude.",
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawn help costs a third of a second at every start
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _whole(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the release and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"analect {version_of('analect')}")
        raise typer.Exit
    overview(context)


for group in (
    serving,
    reading,
    grouping,
    processing,
    pipeline,
    exchanging,
    migrating,
    upkeep,
    backing,
    restoring,
    retaining,
    erasing,
    keys,
):
    group.register(app)
