"""process, reprocess, daemon and status."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analect.cli.session import Session, command, need_store
from analect.model.errors import InvalidInput, TransientError

if TYPE_CHECKING:
    from analect.service import AnalysisService

_STATE = "daemon.json"
_STEP = 500

Processor = Annotated[str | None, typer.Option("--processor", help="Only this processor.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "process")(process)
    command(app, "reprocess")(reprocess)
    command(app, "daemon")(daemon)
    command(app, "status", remote=True)(status)


def process(
    session: Session,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")] = None,
    processor: Processor = None,
    pause: Annotated[
        str | None,
        typer.Option(
            "--pause",
            metavar="NAME",
            help="Begin nothing of this processor any more, in any process.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="NAME", help="Let it go on.", show_default=False),
    ] = None,
) -> None:
    """Process what waits (indexing), then stop.

    Or pause a processor, or let it go on.
    """
    need_store(session, "process")
    if pause is not None or resume is not None:
        _switch(session, pause, resume)
        return
    done = 0
    with session.service() as service, session.out.progress("processing") as progress:
        while limit is None or done < limit:
            step = _STEP if limit is None else min(_STEP, limit - done)
            handled = service.process(processor, step)
            if not handled:
                break
            done += handled
            progress(done, limit)
    session.out.value({"processed": done})


def _switch(session: Session, pause: str | None, resume: str | None) -> None:
    if pause == resume:
        raise InvalidInput("pause one processor and resume another", field="pause")
    with session.service() as service:
        if pause is not None:
            service.pause(pause)
        if resume is not None:
            service.resume(resume)
        session.out.value({"paused": sorted(service.store.pauses.paused())})


def reprocess(
    session: Session,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Records.", show_default=False)
    ] = None,
    processor: Annotated[
        list[str] | None, typer.Option("--processor", help="Only these; repeat for more.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every record: for a processor that was added later.")
    ] = False,
) -> None:
    """Put records back before the processors, quarantined ones too."""
    need_store(session, "reprocess")
    if everything == bool(ids):
        raise InvalidInput("name records, or say --all", field="ids")
    with session.service() as service:
        if everything:
            queued = service.reprocess_all(processor or service.processors())
        else:
            queued = service.reprocess(ids or [], processor)
    session.out.value({"queued": queued})


def status(session: Session) -> None:
    """Show what is stored, what waits, and how big it is."""
    if session.url is None and "ANALECT_URL" not in os.environ:
        need_store(session, "look at")
        settings = session.settings()
        if settings.queue_url is not None:
            from analect_processors.standing import queues_of

            with session.service() as service:
                session.out.value({**service.status(), "queues": queues_of(settings, service)})
            return
    with session.reader() as reader:
        session.out.value(reader.status())


def daemon(
    session: Session,
    interval: Annotated[
        float, typer.Option("--interval", min=0.05, help="Seconds between looks.")
    ] = 5.0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Records at a time.")
    ] = _STEP,
    once: Annotated[bool, typer.Option("--once", help="One look, then stop.")] = False,
    show_status: Annotated[
        bool, typer.Option("--status", help="Say whether a daemon runs, and stop.")
    ] = False,
) -> None:
    """Process in the background of a store that no server processes."""
    need_store(session, "process")
    path = session.settings().home / _STATE
    if show_status:
        session.out.value(_state(path))
        return
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        with session.service() as service:
            service.start_shipping()
            _loop(session, service, path, stop, interval=interval, batch_size=batch_size, once=once)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop(
    session: Session,
    service: AnalysisService,
    path: Path,
    stop: threading.Event,
    *,
    interval: float,
    batch_size: int,
    once: bool,
) -> None:
    state: dict[str, Any] = {"pid": os.getpid(), "started_at": _now(), "processed": 0}
    try:
        while not stop.is_set():
            handled = _look(session, service, batch_size)
            state |= {"processed": state["processed"] + handled, "last_run_at": _now()}
            _save(path, state)
            if once:
                break
            if not handled:
                stop.wait(interval)
    finally:
        path.unlink(missing_ok=True)
    session.out.value({"processed": state["processed"]})


def _look(session: Session, service: AnalysisService, batch_size: int) -> int:
    try:
        return service.process(None, batch_size)
    except TransientError as error:
        session.out.note(f"analect: {error}; trying again")
        return 0


def _save(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.write_text(json.dumps(state), "utf-8")
    fresh.replace(path)


def _state(path: Path) -> dict[str, Any]:
    """What the running daemon last said; one that died says nothing."""
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        os.kill(state["pid"], 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return {"running": False}
    except PermissionError:  # it is another user's, so it is there
        return {"running": True}
    return {"running": True, **state}


def _now() -> int:
    return time.time_ns() // 1000
