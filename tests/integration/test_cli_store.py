"""The command line on a real store, alone and beside a running server."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from analect.cli.app import app
from tests.ports import free_port

THREAD = "order-17"


pytestmark = pytest.mark.usefixtures("commands_without_logs")


class Place:
    """A home folder with its key ring, and the command run on it."""

    def __init__(self, root):
        self.root = root
        self.home = root / "home"
        self.variables = {
            "ANALECT_HOME": str(self.home),
            "ANALECT_KEYS__RING": str(root / "ring"),
            "XDG_CONFIG_HOME": str(root / "config"),
        }
        others = {k: v for k, v in os.environ.items() if not k.startswith("ANALECT_")}
        self.environment = others | self.variables

    def command(self, *words):
        return [sys.executable, "-m", "analect.cli", *map(str, words)]

    def run(self, *words, code=0, send="", **environment):
        done = CliRunner().invoke(
            app, [*map(str, words)], input=send, env={**self.variables, **environment}
        )
        assert done.exit_code == code, (done.output, done.exception)
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words, **options):
        return json.loads(self.run(*words, "--json", **options).stdout)

    @contextmanager
    def server(self, **environment):
        process = subprocess.Popen(
            self.command("serve", "--port", "0", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**self.environment, **environment},
        )
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            url = json.loads(process.stdout.readline())["url"]
            wait_ready(url)
            yield url
        finally:
            watchdog.cancel()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def wait_ready(url):
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, "the server is not ready in time"
            threading.Event().wait(0.05)


def records():
    turns = [
        {"role": "user", "input": "Wo bleibt mein Paket? Ich bin alice@example.org"},
        {"role": "assistant", "output": "It left the warehouse in Lyon this morning."},
        {"role": "user", "input": "谢谢你的帮助"},
    ]
    for number, turn in enumerate(turns):
        yield {
            "kind": "message",
            "id": f"turn-{number}",
            "occurred_at": f"2025-06-30T12:00:0{number}Z",
            "thread_id": THREAD,
            "session_id": "s-1",
            "subject": "alice@example.org",
            "turn": number,
            "tags": ["support"],
            "dimensions": {"language": "de" if number == 0 else "en"},
            **turn,
        }
    yield {
        "kind": "task",
        "id": "task-1",
        "occurred_at": "2025-06-29T12:00:00Z",
        "name": "classify",
        "success": False,
        "input": {"text": "=SUM(A1)"},
        "attributes": {"reason": "timeout"},
    }


def lines(items):
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with four records, imported and processed."""
    found = Place(tmp_path_factory.mktemp("place"))
    source = found.root / "records.jsonl"
    source.write_text(lines(records()), "utf-8")
    done = found.json("import", source)
    assert (done["read"], done["stored"], done["refused"]) == (4, 4, 0)
    assert found.json("process")["processed"] > 0
    return found


@pytest.fixture(scope="module")
def url(place):
    with place.server() as address:
        yield address


def test_standard_output_holds_what_was_asked_and_nothing_else(place):
    out = subprocess.run(
        place.command("status", "--json"),
        capture_output=True,
        env=place.environment,
        check=True,
        timeout=60,
    )
    assert json.loads(out.stdout)["store"]["records"] == 4
    assert out.stderr == b""


def test_importing_again_makes_duplicates(place):
    done = place.json("import", place.root / "records.jsonl")
    assert (done["stored"], done["duplicates"], done["conflicts"]) == (0, 4, 0)


def test_listing_newest_first_with_filters_and_pages(place):
    page = place.json("list", "--limit", 2)
    assert [item["turn"] for item in page["items"]] == [2, 1]
    rest = place.json("list", "--limit", 2, "--cursor", page["next"])
    assert [item.get("turn") for item in rest["items"]] == [0, None]
    failed = place.json("list", "--failed", "--from", "2025-06-29", "--to", "2025-06-30")
    assert [item["name"] for item in failed["items"]] == ["classify"]
    german = place.json("list", "--where", "dim.language=de", "--tags", "support")
    assert [item["turn"] for item in german["items"]] == [0]
    assert len(place.json("list", "--session", "s-1")["items"]) == 3


def test_personal_data_comes_back_as_tokens(place):
    (first,) = place.json("list", "--where", "dim.language=de")["items"]
    assert "alice@" not in json.dumps(first)
    assert "<email:" in first["input"]
    assert first["subject"].startswith("<subject:")


def test_showing_one(place):
    (task,) = place.json("list", "--kind", "task")["items"]
    assert place.json("show", task["id"]) == task
    text = place.run("show", task["id"]).stdout
    assert "name: classify" in text
    assert '"reason": "timeout"' in text


def test_a_conversation_in_order(place):
    found = place.json("thread", THREAD)
    assert [item["turn"] for item in found["items"]] == [0, 1, 2]
    text = place.run("thread", THREAD, "--verbose").stdout
    assert text.index("Paket") < text.index("Lyon") < text.index("谢谢")
    assert "dimensions:" in text


@pytest.mark.parametrize("query", ["warehouse", "帮助", "paket"])
def test_finding_words(place, query):
    assert place.json("search", query)["items"]


def test_people_read_snippets_without_entities(place):
    assert "Ich bin <email:" in place.run("search", "paket").stdout


def test_finding_meaning_and_relations(place):
    hits = place.json("search", "shipment has departed", "--mode", "hybrid", "--explain")["items"]
    assert hits[0]["explanation"]
    (first, *_) = place.json("thread", THREAD)["items"]
    nodes = place.json("related", first["id"], "--depth", 2)["nodes"]
    assert {"thread", "session"} <= {node["type"] for node in nodes}
    assert "thread" in place.run("related", first["id"]).stdout


def test_an_index_that_cannot_be_used_is_told_once(tmp_path):
    alone = Place(tmp_path)
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"input": "a word"}\n')
    alone.run("import", lines)
    alone.run("process")
    for path in (alone.home / "index").glob("vectors*"):
        path.write_bytes(b"not what it was")
    asked = alone.command("search", "word", "--mode", "semantic")
    done = subprocess.run(
        asked, env=alone.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    (said,) = done.stderr.splitlines()
    assert said.endswith("analect rebuild vectors")


def test_the_status_counts(place):
    found = place.json("status")
    assert found["store"]["records"] == 4
    assert found["indexes"]["text"]["records"] == 4
    assert "records: 4" in place.run("status").stdout


def test_what_is_wrong_ends_in_its_code(place, tmp_path):
    absent = "0197c0a1-e07b-7000-8000-000000000001"
    gone = place.run("show", absent, code=4)
    assert gone.stdout == ""
    assert gone.stderr.startswith("analect: ")
    place.run("list", "--limit", 0, code=2)
    place.run("list", "--from", "yesterday", code=2)
    place.run("search", '""', code=4)
    place.run("status", "--url", "http://127.0.0.1:9", code=3)
    place.run("status", "--home", tmp_path / "absent", code=4)


def test_an_answer_from_what_is_left_says_so_and_why(place):
    away = {"ANALECT_SEARCH__URL": f"http://127.0.0.1:{free_port()}"}
    found = place.run("search", "warehouse", **away)
    assert "It left the <em>warehouse</em> in Lyon" in found.stdout
    assert "degraded" not in found.stdout
    assert found.stderr.startswith(f"degraded: {away['ANALECT_SEARCH__URL']} cannot be reached; ")
    page = place.json("search", "warehouse", **away)
    assert page["degraded"]
    assert page["reason"].endswith(
        "cannot be reached; the newest 500 records were looked through instead"
    )
    with place.server(**away) as url:
        asked = place.run("search", "warehouse", "--url", url)
        assert asked.stderr == found.stderr
    assert "degraded" not in place.run("search", "warehouse").stderr
    assert place.json("search", "warehouse")["degraded"] is False


def test_indexes_are_verified_mended_and_rebuilt(place):
    assert [report["index"] for report in place.json("verify")["items"]] == [
        "text", "vectors", "graph",
    ]  # fmt: skip
    assert len(place.json("verify", "--index")["items"]) == 3
    assert len(place.json("verify", "--index", "text")["items"]) == 1
    assert place.json("verify", "text", "--repair")["items"][0]["missing"] == 0
    assert place.json("rebuild", "text") == {"index": "text", "records": 4}
    assert place.json("search", "warehouse")["items"]


def test_migrating_what_is_up_to_date_changes_nothing(place):
    assert place.json("migrate")["changed"] is False


def test_reprocessing(place):
    (task,) = place.json("list", "--kind", "task")["items"]
    assert place.json("reprocess", task["id"])["queued"] == 1
    assert place.json("daemon", "--once")["processed"] >= 1
    assert place.json("daemon", "--status") == {"running": False}


def test_a_daemon_works_until_it_is_stopped(place):
    (task,) = place.json("list", "--kind", "task")["items"]
    daemon = subprocess.Popen(
        place.command("daemon", "--interval", "0.1", "--json"),
        stdout=subprocess.PIPE,
        text=True,
        env=place.environment,
    )
    watchdog = threading.Timer(60, daemon.kill)
    watchdog.start()
    try:
        deadline = time.monotonic() + 30
        while not place.json("daemon", "--status")["running"]:
            assert time.monotonic() < deadline
        place.json("reprocess", task["id"])
        while place.json("daemon", "--status")["processed"] < 1:
            assert time.monotonic() < deadline
        daemon.send_signal(signal.SIGTERM)
        assert json.loads(daemon.stdout.read())["processed"] >= 1
        assert daemon.wait(20) == 0
    finally:
        watchdog.cancel()
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()


def test_through_a_server_it_is_the_same(place, url):
    for words in (
        ("list", "--kind", "message", "--oldest-first"),
        ("list", "--where", "dim.language=de", "--from", "2025-06-30"),
        ("aggregate", "--by", "service,month,dim.language", "--from", "2025-06-30"),
        ("thread", THREAD),
        ("search", "warehouse", "--tags", "support"),
    ):
        assert place.json(*words, "--url", url)["items"] == place.json(*words)["items"]
    (task,) = place.json("list", "--kind", "task")["items"]
    assert place.json("show", task["id"], ANALECT_URL=url) == task
    assert place.json("status", "--url", url)["store"]["records"] == 4
    assert place.json("related", task["id"], "--url", url)["nodes"]
    place.run("show", "0197c0a1-e07b-7000-8000-000000000001", "--url", url, code=4)


def test_tails_begin_where_they_are_told(place, url):
    def tail(*words):
        found = place.run("tail", "--json", *words).stdout.splitlines()
        return [json.loads(line) for line in found]

    changes = tail("--from-start", "--limit", 4)
    assert len({change["id"] for change in changes}) == 4
    behind = tail("--after", changes[1]["cursor"], "--limit", 2)
    assert [change["id"] for change in behind] == [change["id"] for change in changes[2:]]
    assert tail("--after", changes[1]["cursor"], "--limit", 2, "--url", url) == behind


def test_a_server_with_keys_lets_in_who_has_one(tmp_path):
    place = Place(tmp_path)
    made = place.json("keys", "api-key", "new")
    with place.server(ANALECT_API_KEYS=made["hash"]) as url:
        place.run("status", "--url", url, code=4)
        assert place.json("status", "--url", url, ANALECT_API_KEY=made["key"])["store"]
    assert place.json("keys", "status")["ring_exists"]


def test_erasing_gives_a_receipt(tmp_path):
    place = Place(tmp_path)
    source = tmp_path / "records.jsonl"
    source.write_text(lines(records()), "utf-8")
    place.json("import", source)
    place.json("process")
    (task,) = place.json("list", "--kind", "task")["items"]
    assert place.json("erase", "record", task["id"])["state"] == "final"
    place.run("show", task["id"], code=4)
    place.run("erase", "subject", code=4)
    person = place.json("erase", "subject", send="alice@example.org\n")
    assert person["scope"] == "subject"
    assert "alice" not in json.dumps(person)
    assert place.json("list")["items"] == []
    assert len(place.json("erase", "receipts")["items"]) == 2


def test_the_key_encryption_key_is_changed_and_recovered(tmp_path):
    place = Place(tmp_path)
    place.json("import", "-", send=lines(records()))
    kek = tmp_path / "ring.kek"
    recovery = tmp_path / "recovery.json"
    status = place.json("keys", "status")
    assert status["old_keys"] == 0
    assert status["kek_names"] == [status["ring_needs"]]

    rotated = place.json("keys", "rotate")
    assert rotated["rewrapped"] > 1
    assert rotated["old_keys"] == 1
    assert place.json("keys", "status")["ring_needs"] != status["ring_needs"]
    assert len(place.json("thread", THREAD)["items"]) == 3
    assert place.json("keys", "rotate", "--finish") == {"rewrapped": 0, "old_keys": 0}
    assert place.json("keys", "status")["old_keys"] == 0
    assert len(place.json("thread", THREAD)["items"]) == 3

    place.json("keys", "export-recovery", recovery)
    assert recovery.stat().st_mode & 0o777 == 0o600
    place.run("keys", "export-recovery", recovery, code=4)
    kek.unlink()
    assert "recovery key" in place.run("list", code=4).stderr
    place.run("keys", "import-recovery", place.root / "absent", code=4)
    place.run("keys", "import-recovery", "-", send="{}", code=4)
    assert place.json("keys", "import-recovery", recovery) == {"keys": 1}
    assert place.json("thread", THREAD)["items"][0]["input"]

    old = recovery.read_text()
    place.json("keys", "rotate")
    place.json("keys", "rotate", "--finish")
    assert "does not open" in place.run("keys", "import-recovery", "-", send=old, code=4).stderr
    assert place.json("thread", THREAD)["items"][0]["input"]


def test_a_passphrase_is_changed(tmp_path):
    place = Place(tmp_path)
    place.variables |= {"ANALECT_KEYS__KEK": "passphrase", "ANALECT_KEYS__PASSPHRASE": "one"}
    place.json("import", "-", send=lines(records()))
    assert place.json("keys", "rotate", send="two\n")["rewrapped"] > 1
    place.run("list", code=4)
    place.variables["ANALECT_KEYS__PASSPHRASE"] = "two"
    assert place.json("thread", THREAD)["items"][0]["input"]
    place.run("keys", "export-recovery", "-", code=4)
