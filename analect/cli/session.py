"""What all commands share: their common options, where the store is, and how errors end."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analect.cli.output import Output
from analect.model.errors import AnalectError, ConfigurationError, TransientError

if TYPE_CHECKING:
    from analect.cli.reader import Reader
    from analect.service import AnalysisService
    from analect.settings import Settings

UNEXPECTED, USAGE, TRANSIENT, TERMINAL, INTERRUPTED = 1, 2, 3, 4, 130

_JSON = Annotated[
    bool,
    typer.Option("--json", help="Machine output on standard output."),
]
_HOME = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="The data folder (ANALECT_HOME).",
        show_default=False,
    ),
]
_DEBUG = Annotated[
    bool,
    typer.Option("--debug", help="Show tracebacks and debug logs."),
]
_URL = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Ask a server instead of the store itself (ANALECT_URL; key in ANALECT_API_KEY).",
        show_default=False,
    ),
]


@dataclass(slots=True)
class Session:
    """One run of one command."""

    home: Path | None = None
    url: str | None = None
    json: bool = False
    debug: bool = False
    out: Output = field(init=False)

    def __post_init__(self) -> None:
        self.out = Output(json=self.json)

    def settings(self) -> Settings:
        """The settings, with ``--home`` over all.

        Raises:
            ConfigurationError: one of them is wrong.
        """
        from analect.settings import Settings

        return Settings() if self.home is None else Settings(home=self.home)

    @contextmanager
    def service(self) -> Iterator[AnalysisService]:
        """The store itself; a server may be running on it at the same time."""
        self.quiet_logs()
        from analect.service import AnalysisService

        with AnalysisService.open(self.settings()) as service:
            yield service

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The server, if one is named, else the store itself."""
        url = self.url or os.environ.get("ANALECT_URL")
        if url:
            self.quiet_logs()
            from analect.cli.reader_remote import RemoteReader
            from analect.client import Client

            with Client(url) as client:
                yield RemoteReader(client)
        else:
            need_store(self, "read from")
            from analect.cli.reader_local import LocalReader

            with self.service() as service:
                yield LocalReader(service)

    def quiet_logs(self) -> None:
        """Warnings for people on standard error; everything with ``--debug``."""
        from analect.index.health import BREAKER, CANNOT_BE_USED
        from analect.telemetry.logs import configure_logging

        if self.debug:
            configure_logging("debug", "console")
        else:
            configure_logging("warning", "console", without=(BREAKER, CANNOT_BE_USED))


def group_of(help_text: str, **more: Any) -> typer.Typer:
    """A group of commands; asked for without one of them it shows what there is, and exits 0."""
    group = typer.Typer(help=help_text, invoke_without_command=True, **more)
    group.callback()(overview)
    return group


def overview(context: typer.Context) -> None:
    """Show a group's help where none of its commands was asked for."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def command(
    app: typer.Typer, name: str, *, remote: bool = False
) -> Callable[[Callable[..., None]], None]:
    """Register a function as a command with the common options.

    Its first parameter is the :class:`Session`; the others are the command's own. ``remote``
    commands also take ``--url``.
    """

    def register(body: Callable[..., None]) -> None:
        common = {"json": _JSON, "home": _HOME, "debug": _DEBUG}
        if remote:
            common["url"] = _URL
        own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]
        extra = [
            inspect.Parameter(
                option,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if option in {"json", "debug"} else None,
                annotation=annotation,
            )
            for option, annotation in common.items()
        ]
        keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

        def run(**given: Any) -> None:
            session = Session(**{option: given.pop(option) for option in common})
            with exit_codes(debug=session.debug):
                body(session, **given)

        run.__doc__ = body.__doc__
        run.__name__ = body.__name__
        run.__annotations__ = {p.name: p.annotation for p in (*keywords, *extra)}
        vars(run)["__signature__"] = inspect.Signature([*keywords, *extra])
        app.command(name)(run)

    return register


@contextmanager
def exit_codes(*, debug: bool) -> Iterator[None]:
    """End the process as the error asks for, with one line that says what to do."""
    try:
        yield
    except AnalectError as error:
        if debug:
            raise
        say(str(error))
        raise typer.Exit(TRANSIENT if isinstance(error, TransientError) else TERMINAL) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        # Whoever read our output has enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from error
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        if debug:
            raise
        say(f"unexpected {type(error).__name__}: run it again with --debug and report what it says")
        raise typer.Exit(UNEXPECTED) from error


def say(message: str) -> None:
    """One line for people, on standard error."""
    typer.echo(f"analect: {message}", err=True)


def need_store(session: Session, what: str) -> None:
    """Refuse where a command works on the store itself and there is none.

    Raises:
        ConfigurationError: the home folder is not there.
    """
    settings = session.settings()
    if settings.database_url is None and not settings.home.is_dir():
        raise ConfigurationError(
            f"there is no store at {settings.home} to {what}: give --home, set ANALECT_HOME or "
            "ANALECT_DATABASE_URL, or begin one with `analect serve`",
            field="home",
        )
