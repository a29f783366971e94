"""keys status, keys api-key new."""

from __future__ import annotations

import os

import typer

from analect.cli.session import Session, command, need_store


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="The key ring, and keys for callers.")
    command(group, "status")(status)
    api_key = typer.Typer(no_args_is_help=True, help="Keys that callers of the server send.")
    command(api_key, "new")(new_api_key)
    group.add_typer(api_key, name="api-key")
    app.add_typer(group, name="keys")


def status(session: Session) -> None:
    """Say where the keys are; never what they are."""
    need_store(session, "look at")
    from analect.privacy.kek import kek_path

    settings = session.settings()
    session.out.value(
        {
            "ring": str(settings.ring),
            "ring_exists": settings.ring.is_dir(),
            "kek": settings.keys.kek,
            "kek_file": str(kek_path(settings)) if settings.keys.kek == "file" else None,
        }
    )


def new_api_key(session: Session) -> None:
    """Make a key for a caller, and the hash of it for the server."""
    from analect.access.api_keys import new_api_key as make

    key, digest = make(os.urandom)
    session.out.value({"key": key, "hash": digest})
    session.out.note(
        "give the key to the caller; put the hash into ANALECT_API_KEYS or the file that "
        "ANALECT_API_KEYS_FILE names. The key is shown this once."
    )
