"""The machine is lost with its key ring: the page says what to do, and what it says is done."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analect.cli.app import app
from analect.settings import Settings
from tests.integration.test_backup_files import age, old, readable

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "back-up-and-restore.md"


def commands_of(title):
    """The commands in the text of one part of the page, in order."""
    (_, part) = PAGE.read_text("utf-8").split(f"## {title}\n", maxsplit=1)
    return re.findall(r"`(analect [^`]+)`", part.split("\n## ", maxsplit=1)[0])


@pytest.mark.usefixtures("commands_without_logs")
def test_i_must_restore_now(tmp_path, monkeypatch):
    home, ring, dest = tmp_path / "home", tmp_path / "keys" / "ring", tmp_path / "backups"
    recovery, new = tmp_path / "recovery.key", tmp_path / "new"
    settings = Settings(home=home, keys={"ring": ring})
    age(settings, old(300, "boris"), old(120, "boris"), old(2, "boris"), old(2, "anna"))
    monkeypatch.setenv("ANALECT_HOME", str(home))
    monkeypatch.setenv("ANALECT_KEYS__RING", str(ring))

    def run(words, said=None):
        for name, value in (("DEST", dest), ("NEW", new), ("recovery.key", recovery)):
            words = words.replace(name, str(value))
        done = CliRunner().invoke(app, [*words.split()[1:], "--json"], input=said)
        assert done.exit_code == 0, (words, done.output)
        return json.loads(done.stdout)

    run("analect keys export-recovery recovery.key")
    run("analect backup create DEST --i-have-the-recovery-key")
    run("analect drill DEST")
    wanted = readable(settings)
    run("analect erase subject", "anna\n")
    # All that is left are the backups and the recovery key.
    shutil.rmtree(home)
    shutil.rmtree(ring.parent)

    (copy,) = dest.glob("*/ring")
    new.mkdir()
    shutil.copytree(copy, ring)
    assert "analect keys import-recovery recovery.key" in commands_of("Restore")
    monkeypatch.setenv("ANALECT_HOME", str(new))
    run("analect keys import-recovery recovery.key")
    done = {words: run(words) for words in commands_of("I must restore now")}
    assert list(done) == [
        "analect backup list DEST",
        "analect backup check DEST",
        "analect restore DEST --home NEW",
        "analect status",
        "analect backup create DEST",
    ]
    assert [one["state"] for one in done["analect backup list DEST"]["items"]] == ["VERIFIED"]
    assert all(one["whole"] for one in done["analect backup check DEST"]["items"])
    restored = done["analect restore DEST --home NEW"]
    assert (restored["erased"], restored["files"]) == (1, 2)
    assert done["analect backup create DEST"]["parent"] is None
    found = readable(Settings(home=new, keys={"ring": ring}))
    assert found == {id_: one for id_, one in wanted.items() if "anna" not in one[1]}
    assert {tier for tier, _ in found.values()} == {"hot", "warm", "cold"}
