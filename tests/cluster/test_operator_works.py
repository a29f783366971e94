"""Retention policies, backups, restores and erasures as objects."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.operators import EXTERNAL, Operators, Place, Running, operators
from tests.cluster.plane import Plane, wait_for

BACKED = EXTERNAL | {"objectStore": {"url": "s3://bucket/prefix"}, "backup": {}}
STORE = {"storeRef": {"name": "demo"}}
RULES = [{"name": "all", "hotDays": 30, "warmDays": 365}]


def saying(spec: dict[str, Any], message: str) -> dict[str, Any]:
    """The fake node lets the pods of this store's jobs leave this message."""
    return spec | {"podTemplate": {"annotations": {"test/message": message}}}


@pytest.fixture(scope="module")
def fleet(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    with operators(plane, tmp_path_factory.mktemp("operators")) as made:
        yield made


@pytest.fixture(scope="module")
def operator(fleet: Operators) -> Running:
    return fleet.ready()


@pytest.fixture(scope="module", autouse=True)
def by_the_clock(plane: Plane, operator: Running) -> Iterator[Place]:
    """A store whose policy runs every minute, made first: only the last test looks at it."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    plane.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    found = Place(plane, name)
    found.store("demo", saying(EXTERNAL, '{"archived": 5}'))
    spec = STORE | {"rules": RULES, "schedule": "* * * * *"}
    found.create("RetentionPolicy", "retentionpolicies", "keep", spec)
    yield found
    plane.api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def place(plane: Plane, namespace: str, operator: Running) -> Place:
    return Place(plane, namespace)


def status(place: Place, plural: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (place.get(plural, name) or {}).get("status") or {}
    return found


def commands(place: Place, part: str) -> list[list[str]]:
    """What the jobs of a part ask of `analect`."""
    jobs = [place.get("jobs", name) or {} for name in place.names("jobs") if part in name]
    return sorted(job["spec"]["template"]["spec"]["containers"][0]["command"][4:] for job in jobs)


def test_a_policy_becomes_a_job_and_tells_of_its_run(place: Place) -> None:
    summary = '{"archived": 5, "compressed": 3, "deleted": 2, "bytes_freed": 4096}'
    place.create("RetentionPolicy", "retentionpolicies", "keep", STORE | {"rules": RULES})
    missing = place.says("keep", "Accepted", "False", "StoreMissing", plural="retentionpolicies")
    assert "create it" in missing["message"]
    place.store("demo", saying(EXTERNAL, summary))
    place.says("keep", "Accepted", "True", plural="retentionpolicies")
    place.ready("demo")
    wait_for(lambda: "demo-retention" in place.names("cronjobs"), what="the CronJob")
    wait_for(
        lambda: (
            status(place, "retentionpolicies", "keep").get("nextRun", "").endswith("T01:00:00Z")
        ),
        what="when it runs next",
    )
    config = place.get("configmaps", "demo-retention") or {}
    assert '"hotDays": 30' in config["data"]["policy.json"]
    place.run_now("demo-retention", "retention-now")
    run = wait_for(
        lambda: status(place, "retentionpolicies", "keep").get("lastRun"), what="the last run"
    )
    assert run["outcome"] == "Succeeded"
    assert (run["archived"], run["compressed"], run["deleted"], run["bytesFreed"]) == (
        5,
        3,
        2,
        4096,
    )
    wait_for(
        lambda: (
            [one.get("outcome") for one in status(place, "analysisstores", "demo").get("runs", ())]
            == ["Succeeded"]
        ),
        what="the store tells of it too",
    )


def test_a_policy_that_only_plans_says_what_it_would_do(place: Place) -> None:
    def said() -> dict[str, Any]:
        return status(place, "retentionpolicies", "keep")

    def planned() -> list[bool]:
        found = status(place, "analysisstores", "demo").get("runs", ())
        return ["nextTime" in one for one in found]

    place.store("demo", saying(EXTERNAL, '{"records": 7, "held": 1}'))
    spec = STORE | {"rules": RULES, "dryRun": True}
    place.create("RetentionPolicy", "retentionpolicies", "keep", spec)
    place.ready("demo")
    wait_for(lambda: "nextRun" in said(), what="it is planned")
    wait_for(lambda: planned() == [True], what="the store says so, too")
    place.run_now("demo-retention", "retention-now")
    wait_for(lambda: "lastRun" in said(), what="it ran")
    patch = {"spec": {"suspend": True}}
    place.plane.api.merge(place.path("retentionpolicies", "keep"), patch)
    place.says("keep", "Active", "False", "Suspended", plural="retentionpolicies")
    wait_for(lambda: "nextRun" not in said(), what="it runs no more")
    wait_for(lambda: planned() == [False], what="the store says so, too")
    # Looked at twice since that run.
    assert said()["wouldAffect"] == 7
    patch = {"spec": {"suspend": False, "schedule": "0 0 31 2 *"}}
    place.plane.api.merge(place.path("retentionpolicies", "keep"), patch)
    never = place.says("keep", "Active", "False", "NeverDue", plural="retentionpolicies")
    assert "0 0 31 2 *" in never["message"]


def test_a_second_policy_is_refused_and_takes_over_later(place: Place) -> None:
    place.store("demo")
    place.create("RetentionPolicy", "retentionpolicies", "a-first", STORE | {"rules": RULES})
    place.says("a-first", "Accepted", "True", plural="retentionpolicies")
    place.create(
        "RetentionPolicy", "retentionpolicies", "b-second", STORE | {"rules": RULES, "dryRun": True}
    )
    other = place.says("b-second", "Accepted", "False", "AnotherPolicy", plural="retentionpolicies")
    assert "a-first" in other["message"]
    place.plane.api.delete(place.path("retentionpolicies", "a-first"))
    place.says("b-second", "Accepted", "True", plural="retentionpolicies")
    place.says("b-second", "Active", "True", "DryRun", plural="retentionpolicies")


def test_a_backup_on_demand(place: Place) -> None:
    place.create("Backup", "backups", "now", STORE)
    place.says("now", "Accepted", "False", "StoreMissing", plural="backups")
    place.store("demo", saying(BACKED, '{"id": "b-1"}'))
    place.says("now", "Complete", "True", plural="backups")
    found = status(place, "backups", "now")
    assert (found["phase"], found["result"]) == ("Succeeded", '{"id": "b-1"}')
    job = next(name for name in place.names("jobs") if "backup" in name)
    command = (place.get("jobs", job) or {})["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[4:] == [
        "backup",
        "create",
        "s3://bucket/prefix/backups",
        "--kind",
        "manual",
        "--i-have-the-recovery-key",
    ]
    place.plane.api.delete(place.path("backups", "now"))
    wait_for(lambda: job not in place.names("jobs"), what="the job goes with the object")


def test_a_failed_work_says_why(place: Place) -> None:
    place.store("demo", BACKED)
    place.ready("demo")
    place.change(
        "demo",
        {"image": "analect:broken", "podTemplate": {"annotations": {"test/message": "no key"}}},
    )
    failed = place.says("demo", "MigrationsApplied", "False", "MigrationFailed")
    wait_for(
        lambda: "no key" in place.condition("demo", "MigrationsApplied")["message"],
        what="the job's last words",
    )
    assert failed["reason"] == "MigrationFailed"


def test_a_failed_drill_is_told_of_until_one_succeeds(place: Place) -> None:
    place.store("demo", {"image": "analect:1.0.0", "embedded": {}, "backup": {"volume": {}}})
    place.ready("demo")
    place.run_now("demo-drill", "first", failing="a line of the log\nanalect: it is damaged\n")
    failed = place.says("demo", "BackupsHealthy", "False", "Failed")
    assert failed["message"].startswith("the last drill failed: ")
    assert failed["message"].endswith(": analect: it is damaged")
    # Jobs go after a day, and a drill is due once a week.
    place.plane.api.delete(place.path("jobs", "first"))
    wait_for(lambda: "first" not in place.names("jobs"), what="its job is gone")
    place.change("demo", {"query": {"replicas": 1}})
    generation = (place.get("analysisstores", "demo") or {})["metadata"]["generation"]
    wait_for(
        lambda: (
            place.condition("demo", "BackupsHealthy").get("observedGeneration", 0) >= generation
        ),
        what="a look at the store",
    )
    assert place.condition("demo", "BackupsHealthy")["message"] == failed["message"]
    place.run_now("demo-drill", "second")
    place.says("demo", "BackupsHealthy", "True")


def test_writers_rest_while_a_restore_runs(place: Place) -> None:
    place.store("demo", BACKED)
    place.ready("demo")
    place.create("Restore", "restores", "back", STORE)
    place.says("back", "Complete", "True", plural="restores")
    events = place.plane.api.items(place.path("events"))
    assert any(one["reason"] == "Restoring" for one in events)
    place.ready("demo")
    assert (place.get("deployments", "demo-ingest") or {})["spec"]["replicas"] == 2


def test_writers_go_on_where_there_is_nothing_to_restore_from(place: Place) -> None:
    place.store("demo", EXTERNAL)
    place.ready("demo")
    place.create("Restore", "restores", "back", STORE)
    place.says("back", "Accepted", "False", "NoPlace", plural="restores")
    place.change("demo", {"query": {"replicas": 3}})

    def pods(role: str) -> Any:
        return (place.get("deployments", f"demo-{role}") or {})["spec"]["replicas"]

    wait_for(lambda: pods("query") == 3, what="a look at the store")
    place.ready("demo")
    assert pods("ingest") == 2


def test_a_restore_takes_the_place_of_a_store_only_where_its_database_refuses_writes(
    place: Place,
) -> None:
    place.store("demo", BACKED)
    place.ready("demo")
    place.create("Restore", "restores", "filled", STORE)
    place.says("filled", "Complete", "True", plural="restores")
    place.change("demo", {"mode": "Stopped"})
    wait_for(lambda: status(place, "analysisstores", "demo").get("heldMode"), what="the fence")
    place.create("Restore", "restores", "stopped", STORE)
    place.says("stopped", "Complete", "True", plural="restores")
    restore = ["restore", "s3://bucket/prefix/backups"]
    assert commands(place, "mode") == [["mode", "Stopped"]]
    assert commands(place, "restore") == [restore, [*restore, "--replace"]]
    place.change("demo", {"mode": "Active"})
    place.ready("demo")
    wait_for(
        lambda: "heldMode" not in status(place, "analysisstores", "demo"), what="no fence any more"
    )


def test_servers_of_a_stopped_store_rest_but_for_a_restore(place: Place) -> None:
    """Once they refuse writes; and the conditions say so to whoever waits for them."""
    servers = {"database": {"managed": {}}, "queue": {"managed": {}}}
    place.store("demo", {"image": "analect:1.0.0", "backup": {"volume": {}}, **servers})
    place.ready("demo")
    place.change("demo", {"mode": "Stopped"})

    def rests() -> bool:
        found = place.get("statefulsets", "demo-database") or {}
        return bool(found["spec"]["replicas"] == 0)

    wait_for(rests, what="the database rests")

    def told() -> bool:
        return bool(status(place, "analysisstores", "demo").get("heldMode") == "Stopped")

    wait_for(told, what="the status says that the mode is held")  # it comes after what it tells of
    for one in ("DatabaseReady", "QueueReady"):
        assert "a Restore wakes it" in place.says("demo", one, "False", "Stopped")["message"]
    place.create("Restore", "restores", "back", STORE)
    done = place.says("back", "Complete", "True", plural="restores")
    assert done["message"].endswith("set its spec.mode to Active")
    wait_for(rests, what="the database rests again")
    assert "set it to Active" in place.says("demo", "Ready", "False", "Stopped")["message"]
    place.change("demo", {"mode": "Active"})
    place.ready("demo")


def test_an_erasure_lets_the_name_go_with_the_final_receipt(place: Place) -> None:
    place.store("demo", saying(EXTERNAL, '{"state": "final"}'))
    ref = {"subjectSecretRef": {"name": "who", "key": "subject"}}
    place.create("Erasure", "erasures", "gone", STORE | ref)
    wait_for(
        lambda: "no secret" in place.condition("gone", "Accepted", "erasures").get("message", ""),
        what="whom it lacks",
    )
    place.plane.api.call(
        "POST",
        place.path("secrets"),
        {"metadata": {"name": "who"}, "stringData": {"subject": "someone@example.org"}},
    )
    place.says("gone", "Complete", "True", plural="erasures")
    wait_for(lambda: "who" not in place.names("secrets"), what="the Secret is deleted")
    job = next(name for name in place.names("jobs") if "erase" in name)
    assert "someone" not in str(place.get("jobs", job))


def test_a_pending_receipt_keeps_the_name(place: Place) -> None:
    place.store("demo", saying(EXTERNAL, '{"items": [{"state": "pending"}, {"state": "final"}]}'))
    body = {"metadata": {"name": "who"}, "stringData": {"subject": "someone@example.org"}}
    place.plane.api.call("POST", place.path("secrets"), body)
    ref = {"subjectSecretRef": {"name": "who", "key": "subject"}}
    place.create("Erasure", "erasures", "waits", STORE | ref)
    place.says("waits", "Complete", "True", plural="erasures")
    assert "who" in place.names("secrets")


def test_finished_work_is_removed_in_time(place: Place) -> None:
    place.store("demo", BACKED)
    place.create("Backup", "backups", "short", STORE | {"ttlSecondsAfterFinished": 1})
    wait_for(lambda: place.get("backups", "short") is None, what="the object is removed")


def test_what_is_due_runs_by_the_clock(by_the_clock: Place) -> None:
    """By the controller of Kubernetes, within a minute that the tests before took for themselves."""

    def ran() -> Any:
        return status(by_the_clock, "retentionpolicies", "keep").get("lastRun")

    run = wait_for(ran, what="a run that nobody started", deadline=120)
    assert (run["outcome"], run["archived"]) == ("Succeeded", 5)

    def told() -> bool:
        (entry,) = status(by_the_clock, "analysisstores", "demo")["runs"]
        return "lastTime" in entry

    wait_for(told, what="the store tells of it, too")
