"""serve."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from analect.cli.session import Session, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "serve")(serve)


def serve(
    session: Session,
    host: Annotated[
        str | None, typer.Option("--host", help="Address (ANALECT_HTTP__HOST).", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Port (ANALECT_HTTP__PORT).", show_default=False
        ),
    ] = None,
    role: Annotated[
        Literal["all", "ingest", "query"],
        typer.Option("--role", help="What it answers: everything, only writes, only reads."),
    ] = "all",
) -> None:
    """Serve HTTP and process in the background, until SIGTERM."""
    from analect_ingest.roles import Role
    from analect_ingest.server import run

    settings = session.settings()
    said = {"host": host, "port": port}
    chosen = {name: value for name, value in said.items() if value is not None}
    if chosen:
        http = settings.http.model_copy(update=chosen)
        settings = settings.model_copy(update={"http": http})

    def ready(address: str) -> None:
        if session.json:
            session.out.stream_item({"url": address, "pid": os.getpid()})
        else:
            session.out.note(f"Analect listens on {address}; interrupt to stop")

    run(settings, role=Role(role), on_ready=ready)
