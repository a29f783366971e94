"""keys status, rotate, export-recovery, import-recovery, api-key new; reveal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.session import Session, command, group_of, need_store
from analect.model.errors import InvalidInput

if TYPE_CHECKING:
    from analect.privacy.custody import Custody
    from analect.settings import Settings

_STANDARD = "-"

File = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard streams.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = group_of("The key ring, and keys for callers.")
    command(group, "status")(status)
    command(group, "rotate")(rotate)
    command(group, "export-recovery")(export_recovery)
    command(group, "import-recovery")(import_recovery)
    api_key = group_of("Keys that callers of the server send.")
    command(api_key, "new")(new_api_key)
    group.add_typer(api_key, name="api-key")
    app.add_typer(group, name="keys")
    command(app, "reveal")(reveal)


def status(session: Session) -> None:
    """Say where the keys are; never what they are."""
    need_store(session, "look at")
    from analect.privacy.kek import LocalKek, kek_path, read_key_file
    from analect.privacy.keyring import FolderKeyRing
    from analect.privacy.shards import wrapped_by

    settings = session.settings()
    path = kek_path(settings) if settings.keys.kek == "file" else None
    there = path is not None and path.is_file()
    keys = read_key_file(path) if path is not None and there else []
    session.out.value(
        {
            "ring": str(settings.ring),
            "ring_exists": settings.ring.is_dir(),
            "kek": settings.keys.kek,
            "kek_file": None if path is None else str(path),
            "kek_file_exists": None if path is None else there,
            "old_keys": len(keys) - 1 if keys else None,
            "kek_names": LocalKek(str(path), keys, os.urandom).names if keys else None,
            "ring_needs": wrapped_by(FolderKeyRing(settings.ring)),
        }
    )


def rotate(
    session: Session,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Destroy the old key, in a second run a while later."),
    ] = False,
) -> None:
    """Change the key-encryption key; no data is rewritten.

    A key in a file: a fresh one is used from now on, and the old one still accepted until
    --finish. A passphrase: the new one comes on standard input.
    """
    need_store(session, "rotate the keys of")
    custody = _custody(session)
    if finish:
        session.out.value(custody.finish())
        return
    if session.settings().keys.kek == "passphrase":
        session.out.value(custody.change_passphrase(sys.stdin.readline().rstrip("\r\n")))
        session.out.note("set the new passphrase before anything is started again")
        return
    session.out.value(custody.rotate())
    session.out.note(
        "running servers follow by themselves: in a minute run `analect keys rotate --finish`, and "
        "export a new recovery key"
    )


def export_recovery(session: Session, file: File) -> None:
    """Write the recovery key: put it away, it opens everything together with the ring."""
    need_store(session, "export the recovery key of")
    exported = _custody(session).export_recovery()
    if file == _STANDARD:
        sys.stdout.write(exported.decode())
        return
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(f"cannot write {file}: {error.strerror}", field="file") from error
    with os.fdopen(handle, "wb") as stream:
        stream.write(exported)
        stream.flush()
        os.fsync(stream.fileno())
    session.out.value({"file": file})
    session.out.note("keep it away from the data and the ring, where only you can read it")


def import_recovery(session: Session, file: File) -> None:
    """Put the key-encryption key back from an exported recovery key."""
    need_store(session, "import the recovery key of")
    try:
        exported = sys.stdin.buffer.read() if file == _STANDARD else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}", field="file") from error
    session.out.value({"keys": _custody(session).import_recovery(exported)})


def new_api_key(session: Session) -> None:
    """Make a key for a caller, and the hash of it for the server."""
    from analect.access.api_keys import new_api_key as make

    key, digest = make(os.urandom)
    session.out.value({"key": key, "hash": digest})
    session.out.note(
        "give the key to the caller; put the hash into ANALECT_API_KEYS or the file that "
        "ANALECT_API_KEYS_FILE names. The key is shown this once."
    )


def reveal(
    session: Session,
    token: Annotated[str, typer.Argument(help="A pseudonym, such as <email:0123456789abcdef>.")],
    actor: Annotated[str, typer.Option("--actor", help="Who looks, for the log of accesses.")],
) -> None:
    """Show the value behind a pseudonym.

    Where the vault keeps it (`privacy.vault`); the look is logged.
    """
    need_store(session, "look into the vault of")
    with session.service() as service:
        session.out.value({"token": token, "value": service.reveal(token, actor)})


def _custody(session: Session) -> Custody:
    session.quiet_logs()
    from analect.privacy.custody import Custody

    settings = session.settings()
    return Custody(settings, os.urandom, lambda: _spread(settings))


def _spread(settings: Settings) -> None:
    """Bring the copies of the ring beside backups up to date."""
    from analect.lifecycle.backup.rings import mirror_all
    from analect.privacy.keyring import FolderKeyRing
    from analect.service.wiring import database_url
    from analect.store.backup_places import BackupPlaces
    from analect.store.engine import open_engine
    from analect.store.migrate import schema_version

    engine = open_engine(database_url(settings))
    try:
        places = BackupPlaces(engine).all() if schema_version(engine) else ()
    finally:
        engine.dispose()
    mirror_all(FolderKeyRing(settings.ring), places, settings.objects)
