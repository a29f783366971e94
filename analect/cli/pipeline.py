"""dispatch, work and sweep: the processes between the outbox and the indexes of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from analect.cli.session import Session, command

if TYPE_CHECKING:
    from analect.settings import Settings

_HOST = Annotated[
    str | None,
    typer.Option("--host", help="Address of its probe (ANALECT_HTTP__HOST).", show_default=False),
]
_PORT = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65535,
        help="Port of its probe (ANALECT_HTTP__PORT).",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "dispatch")(dispatch)
    command(app, "work")(work)
    command(app, "sweep")(sweep)


def dispatch(session: Session, host: _HOST = None, port: _PORT = None) -> None:
    """Move what waits from Postgres into the queues, until SIGTERM."""
    from analect_processors import processes

    settings = listening_on(session.settings(), host, port)
    processes.dispatch(settings, on_ready=_said(session, "dispatches"))


def work(
    session: Session,
    queue: Annotated[str, typer.Argument(help="A processor: text, vectors, graph.")],
    *,
    host: _HOST = None,
    port: _PORT = None,
    worker: Annotated[
        Literal["simple", "pool", "fork"] | None,
        typer.Option(
            "--worker",
            help="One worker here, several below, or a process for each job (ANALECT_QUEUE__WORKER).",
            show_default=False,
        ),
    ] = None,
    processes_below: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            help="Workers of a pool or of fork (ANALECT_QUEUE__PROCESSES).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Process what one queue brings, until SIGTERM."""
    from analect_processors import processes

    settings = listening_on(session.settings(), host, port)
    said = {"worker": worker, "processes": processes_below}
    chosen = {name: value for name, value in said.items() if value is not None}
    settings = settings.model_copy(update={"queue": settings.queue.model_copy(update=chosen)})
    processes.work_on(settings, queue, on_ready=_said(session, f"works on {queue}"))


def sweep(session: Session) -> None:
    """Give work back, once, that was lost on its way.

    What workers held too long, and what the queue's server forgot.
    """
    from analect_processors import processes

    session.quiet_logs()
    session.out.value({"returned": processes.sweep(session.settings())})


def listening_on(settings: Settings, host: str | None, port: int | None) -> Settings:
    """``settings`` with the address that a command was told."""
    said = {"host": host, "port": port}
    chosen = {name: value for name, value in said.items() if value is not None}
    http = settings.http.model_copy(update=chosen)
    return settings.model_copy(update={"http": http})


def _said(session: Session, what: str) -> Callable[[str], None]:
    def ready(address: str) -> None:
        if session.json:
            session.out.stream_item({"url": address, "pid": os.getpid()})
        else:
            session.out.note(f"Analect {what}, its probe listens on {address}; interrupt to stop")

    return ready
