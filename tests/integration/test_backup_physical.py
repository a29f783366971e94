"""pgBackRest with the Postgres that it belongs to: both are of the same distribution."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from analect.lifecycle.backup.physical import PgBackRest, started
from analect.model.errors import ConfigurationError, Conflict, StoreUnavailable
from analect.model.flat import format_time
from analect.model.query import PageRequest, RecordFilter
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.engine import open_engine
from tests.integration.backing_up import clock, drafts
from tests.integration.commands import Commands
from tests.ports import free_port

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@pytest.fixture(scope="module")
def stanza():
    """A server of the distribution with archiving, as its own user, in a folder of its own."""
    if shutil.which("pgbackrest") is None or not SERVERS or os.geteuid() != 0:
        pytest.skip("needs Debian's packages pgbackrest and postgresql, and root to be their user")
    folder = Path(tempfile.mkdtemp(prefix="analect-pgbackrest-"))
    owner = pwd.getpwnam("postgres")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    try:
        yield from served(folder)
    finally:
        shutil.rmtree(folder)


def served(folder):
    port = free_port()

    def become(*words, **more):
        subprocess.run(
            ["runuser", "-u", "postgres", "--", *words], check=True, capture_output=True, **more
        )

    wrappers = {"pgbackrest": "/usr/bin/pgbackrest", "pg_ctl": f"{SERVERS[0]}/pg_ctl"}
    for name, program in wrappers.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\ncd /\nexec runuser -u postgres -- {program} "$@"\n')
        path.chmod(0o755)
    config = folder / "pgbackrest.conf"
    config.write_text(
        f"[global]\nrepo1-path={folder}/repo\nrepo1-retention-full=2\nstart-fast=y\n"
        f"lock-path={folder}/lock\nlog-path={folder}/log\nspool-path={folder}/spool\n"
        f"log-level-file=off\n[main]\npg1-path={folder}/data\npg1-port={port}\n"
        f"pg1-socket-path={folder}\n"
    )
    data = str(folder / "data")
    become(f"{SERVERS[0]}/initdb", "-A", "trust", "-D", data, cwd="/")
    archive = f"pgbackrest --config={config} --stanza=main archive-push %p"
    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        f" -c archive_mode=on -c 'archive_command={archive}' -c wal_level=replica"
    )
    log, control = f"{folder}/log.txt", str(folder / "pg_ctl")
    subprocess.run(
        [control, "-D", data, "-w", "-l", log, "-o", options, "start"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        tool = PgBackRest("main", str(folder / "pgbackrest"), config)
        tool._run("stanza-create")
        become("psql", "-h", str(folder), "-p", str(port), "-c", "CREATE DATABASE analect", cwd="/")
        yield folder, port, tool
    finally:
        subprocess.run(
            [control, "-D", data, "-m", "immediate", "-w", "stop"],
            check=True,
            stdout=subprocess.DEVNULL,
        )


@pytest.mark.usefixtures("commands_without_logs")
def test_a_server_is_backed_up_drilled_and_put_back_at_a_moment(stanza, tmp_path):
    folder, port, tool = stanza
    url = f"postgresql://postgres@127.0.0.1:{port}/analect"
    settings = Settings(home=tmp_path / "home", database_url=url, keys={"ring": tmp_path / "ring"})
    run = Commands(
        settings,
        ANALECT_BACKUP__PGBACKREST=folder / "pgbackrest",
        ANALECT_BACKUP__PGBACKREST_CONFIG=tool.config,
        ANALECT_BACKUP__PG_CTL=folder / "pg_ctl",
    )
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(4, subject="anna"))
        service.ingest(drafts(3, subject="bare"), omit_payload=True)
    code, made = run("backup", "create", "pgbackrest:main")
    assert (code, made["kind"]) == (0, "full")
    code, made = run("backup", "create", "pgbackrest:main", "--kind", "daily")
    assert (code, made["kind"]) == (0, "diff")
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(5, subject="boris"))
        moment = clock()
        service.ingest(drafts(6, subject="carla"))
        service.erase("subject", "anna")
        service.erase("subject", "bare")
    code, listed = run("backup", "list", "pgbackrest:main")
    assert (code, [one["kind"] for one in listed["items"]]) == (0, ["full", "diff"])
    assert {one["state"] for one in listed["items"]} == {"COMPLETED"}
    assert run("backup", "check", "pgbackrest:main")[0] == 0
    switch_wal(settings)
    scratch = folder / "scratch"
    scratch.mkdir()
    shutil.chown(scratch, "postgres", "postgres")
    full = listed["items"][0]["id"]
    code, drilled = run("drill", "pgbackrest:main", "--scratch", str(scratch), "--id", full)
    # Five of boris and six of carla; anna's keys are gone, and the bare ones have no payload.
    assert code == 0, drilled
    assert (drilled["backup"], drilled["opened"], drilled["found"]) == (full, 11, True)
    code, said = run("drill", "pgbackrest:main", "--id", "other")
    assert (code, "no backup other in pgbackrest:main" in said) == (4, True)
    assert run("backup", "check", "pgbackrest:main", "--id", full)[0] == 2
    listed = run("backup", "list", "pgbackrest:main")[1]["items"]
    assert [one["state"] for one in listed] == ["VERIFIED", "COMPLETED"]
    assert list(scratch.iterdir()) == []

    data = scratch / "data"
    to = format_time(moment)
    code, said = run("restore", "pgbackrest:main", "--to", to, "--data", str(data))
    assert (code, said["data"]) == (0, str(data))
    with started(data, str(folder / "pg_ctl"), "postgres", "analect") as address:
        there = settings.model_copy(update={"database_url": type(settings.database_url)(address)})
        with AnalysisService.open(there) as service:
            service._parts.background._first()
            service._parts.eraser.settle()
            left = service.list(RecordFilter(), PageRequest(100)).items
            # As it was then, without those who were erased since.
            assert len(left) == 5
            assert all(one.input.startswith("question") for one in left)
    with pytest.raises(Conflict):
        tool.restore(data)


def test_what_pgbackrest_says_is_said(stanza):
    folder, _, tool = stanza
    with pytest.raises(ConfigurationError, match="stanza"):
        PgBackRest("other", tool.command, tool.config).list()
    with pytest.raises(StoreUnavailable, match="cannot backup"):
        PgBackRest("other", tool.command, tool.config).backup("daily")
    with pytest.raises(ConfigurationError, match="not installed"):
        PgBackRest("main", str(folder / "nothing")).list()


@pytest.mark.usefixtures("commands_without_logs")
@pytest.mark.parametrize(
    "option",
    [
        ("--dry-run",),
        ("--replace",),
        ("--kind", "event"),
        ("--table", "documents"),
        ("--thread", "t"),
    ],
    ids=lambda option: option[0],
)
def test_what_pgbackrest_does_not_do_is_refused(option, tmp_path):
    """Before anything is begun: nobody who wants to look gets a server laid out."""
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    run = Commands(Settings(home=tmp_path, database_url=url, keys={"ring": tmp_path / "ring"}))
    data = tmp_path / "data"
    code, said = run("restore", "pgbackrest:main", "--data", str(data), *option)
    assert (code, "pgBackRest" in said, data.exists()) == (2, True, False)
    for command in ("show", "prune"):
        code, said = run("backup", command, "pgbackrest:main")
        assert (code, "pgbackrest info" in said) == (4, True)


def switch_wal(settings):
    """Have the last of the log archived."""
    engine = open_engine(settings.database_url.get_secret_value())
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_switch_wal()")
    engine.dispose()
