"""Older names for backups: what they do is what the commands `analect backup` and `analect restore`
do, each in a process of its own, so that the program's store is never half here and half there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analect.compat.integration import get_analysis_service
from analect.compat.plain import moment, text
from analect.model.errors import ConfigurationError, InvalidInput, StoreUnavailable, TerminalError
from analect.model.flat import format_time
from analect.settings import Settings

__all__ = ["create_backup", "list_available_backups", "restore_from_backup"]

KINDS = ("manual", "daily", "weekly", "monthly")
_TRANSIENT = 3
"""The exit code of what may be tried again."""
_SAYING = "analect: "


def create_backup(
    backup_type: str = "manual",
    destination: Any = None,
    *,
    incremental: bool | None = None,
    i_have_the_recovery_key: bool = False,
) -> dict[str, Any]:
    """Back the store up, while programs go on with it; returns what `analect backup list` says of
    it. It is encrypted, of one moment, and good once `analect drill` has restored it.

    Args:
        backup_type: ``manual``, ``daily``, ``weekly`` or ``monthly``; ``full`` and
            ``incremental`` are manual ones.
        destination: a folder or ``s3://bucket/prefix``; that of the setting ``backup.place``
            when not given.
        incremental: only what changed since the last one there.
        i_have_the_recovery_key: the key of `analect keys export-recovery` is in a safe place;
            asked of the first backup, which opens for nobody without it.

    Raises:
        InvalidInput: there is no such type.
        ConfigurationError: no destination is given or set.
        StoreUnavailable: the store or the place does not answer; try again.
        TerminalError: it cannot be done; the message says why.
    """
    asked = str(backup_type).lower()
    kind = "manual" if asked in {"full", "incremental"} else asked
    if kind not in KINDS:
        names = ", ".join((*KINDS, "full", "incremental"))
        raise InvalidInput(f"backup_type must be one of {names}", field="backup_type")
    settings = get_analysis_service().settings
    words = ["backup", "create", _place(settings, destination), "--kind", kind]
    if asked == "incremental" if incremental is None else incremental:
        words.append("--incremental")
    if i_have_the_recovery_key:
        words.append("--i-have-the-recovery-key")
    found: dict[str, Any] = _command(settings, words)
    return found


def list_available_backups(destination: Any = None) -> list[dict[str, Any]]:
    """The finished backups of the store, newest first: ``id``, ``state`` (``COMPLETED``,
    ``VERIFIED``, ``BROKEN``), ``kind``, ``taken_at`` and what else `analect backup list` says.

    Raises:
        ConfigurationError: no destination is given or set.
        StoreUnavailable: the place does not answer; try again.
    """
    settings = get_analysis_service().settings
    found = _command(settings, ["backup", "list", _place(settings, destination)])
    return list(reversed(found["items"]))


def restore_from_backup(
    backup_id: Any = None,
    target: Any = None,
    *,
    to: Any = None,
    destination: Any = None,
    replace: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Restore a backup; returns what `analect restore` says: rows by table, what was left out,
    erasures that were made again. Hashes are checked before anything is kept, and what was erased
    since stays erased.

    Args:
        backup_id: which one; the newest when neither this nor ``to`` is given.
        target: a folder that becomes the home of a new store. The store of this program is left
            alone then.
        to: as everything was at this moment.
        destination: as of :func:`create_backup`.
        replace: in place of the store of this program, which is closed before and opened again
            by the next call. No other process may have it open.
        dry_run: restore into a scratch file, and say what is in it.

    Raises:
        InvalidInput: neither ``target`` nor ``replace`` nor ``dry_run`` says where to.
        StoreUnavailable: the place does not answer; try again.
        TerminalError: it cannot be done, nothing was changed; the message says why.
    """
    integration = get_analysis_service()
    settings = integration.settings
    words = ["restore", _place(settings, destination)]
    if (named := text(backup_id)) is not None:
        words += ["--id", named]
    if (at := moment(to, field="to")) is not None:
        words += ["--to", format_time(at)]
    home = settings.home
    if dry_run:
        words.append("--dry-run")
    elif target is not None:
        home = Path(target)
    elif replace:
        words.append("--replace")
        integration.close()
    else:
        raise InvalidInput(
            "say where to: target (the folder of a new store), or replace=True to put it in the "
            "place of this program's store",
            field="target",
        )
    found: dict[str, Any] = _command(settings, words, home)
    return found


def _place(settings: Settings, destination: Any) -> str:
    place = text(destination) or settings.backup.place
    if place is None:
        raise ConfigurationError(
            "say where backups are: the argument destination, or the setting backup.place "
            "(ANALECT_BACKUP__PLACE)",
            field="backup.place",
        )
    return place


def _command(settings: Settings, words: list[str], home: Path | None = None) -> Any:
    """What a command says. Its secrets come from where this process has them: the environment."""
    own = home is None or home == settings.home
    done = subprocess.run(  # noqa: S603  (our own command, without a shell)
        [sys.executable, "-m", "analect.cli", *words, "--json"],
        env=_environment(settings, home or settings.home, own=own),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    said = done.stderr.strip().rsplit("\n", 1)[-1].removeprefix(_SAYING)
    if done.returncode == _TRANSIENT:
        raise StoreUnavailable(said)
    raise TerminalError(said or f"analect {words[0]} ended with code {done.returncode}")


def _environment(settings: Settings, home: Path, *, own: bool) -> Mapping[str, str]:
    variables = {
        **os.environ,
        "ANALECT_HOME": str(home.absolute()),
        "ANALECT_KEYS__RING": str(settings.ring.absolute()),
    }
    if not own:  # a folder of its own is no database server's
        variables.pop("ANALECT_DATABASE_URL", None)
    return variables
