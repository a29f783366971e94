"""The operator's pure parts: its queue, its hash of what is ours, names, migrations."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect_operator import settings
from analect_operator.ailing import complaints
from analect_operator.build import names
from analect_operator.children import Children
from analect_operator.conditions import Verdict, merged, no, yes
from analect_operator.errors import ConfigurationError
from analect_operator.metrics import Metrics
from analect_operator.migrating import _older
from analect_operator.objects import decoded
from analect_operator.projection import live_digest, wanted_digest
from analect_operator.queue import WorkQueue
from analect_operator.reporting import worth_telling
from analect_operator.resources import Ref
from analect_operator.settings import PREFIX, OperatorOptions
from analect_operator.times import micros_of, next_tick

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "operator.md"
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LEGAL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]{1,20}){0,8}", fullmatch=True)


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_in_the_queue_once_and_with_one_worker() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(Time(), lambda: 1.0)
        queue.add("a")
        queue.add("a")
        assert await queue.take() == "a"
        queue.add("a")
        assert queue.size == 0
        queue.done("a")
        assert queue.size == 1
        assert await queue.take() == "a"

    asyncio.run(scenario())


def test_failures_wait_longer_and_longer_whatever_happens_meanwhile() -> None:
    async def scenario() -> None:
        time = Time()
        queue: WorkQueue[str] = WorkQueue(time, lambda: 1.0)
        waits = []
        for _ in range(12):
            queue.add("a")
            time.now += 100
            await queue.take()
            queue.add("a")
            waits.append(queue.failed("a"))
            assert queue.size == 0
        assert waits[:4] == [0.2, 0.4, 0.8, 1.6]
        assert waits[-1] == 60.0
        assert queue.failed("b", at_least=5.0) == 5.0

    asyncio.run(scenario())


def test_what_is_due_sooner_comes_first() -> None:
    async def scenario() -> None:
        time = Time()
        queue: WorkQueue[str] = WorkQueue(time, lambda: 1.0)
        queue.add("late", 10)
        queue.add("early", 5)
        queue.add("late", 1)
        time.now = 6
        assert [await queue.take(), await queue.take()] == ["late", "early"]

    asyncio.run(scenario())


def live(manifest: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    entry = {"manager": "analect-operator", "operation": "Apply", "fieldsV1": fields}
    told = {**manifest, "metadata": {**manifest["metadata"], "managedFields": [entry]}}
    return decoded(json.dumps(told, separators=(",", ":")).encode())


WANTED = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "n", "namespace": "s", "labels": {"a": "1"}},
    "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
}
PORT = 'k:{"port":80,"protocol":"TCP"}'
FIELDS = {
    "f:metadata": {"f:labels": {"f:a": {}}},
    "f:spec": {"f:ports": {PORT: {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}}},
}


def test_what_others_add_is_not_seen() -> None:
    found = live(WANTED, FIELDS)
    found["metadata"]["labels"] = {"a": "1", "theirs": "x"}
    found["spec"] = {
        "ports": [{"name": "more", "port": 81, "protocol": "TCP"}, *WANTED["spec"]["ports"]],
        "clusterIP": "10.0.0.1",
    }
    assert live_digest(found) == wanted_digest(WANTED)


@pytest.mark.parametrize(
    "fields",
    [
        {**FIELDS, "f:metadata": {}},
        {"f:metadata": FIELDS["f:metadata"]},
        {**FIELDS, "f:spec": {**FIELDS["f:spec"], "f:type": {}}},
    ],
)
def test_a_field_taken_or_left_over_is_seen(fields: dict[str, Any]) -> None:
    found = live(WANTED, fields)
    found["spec"] = {**WANTED["spec"], "type": "NodePort"}
    assert live_digest(found) != wanted_digest(WANTED)


def owned(uid: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A manifest with this owner, and the fields of it."""
    owner = {"kind": "AnalysisStore", "name": "demo", "uid": uid}
    wanted = {**WANTED, "metadata": {**WANTED["metadata"], "ownerReferences": [owner]}}
    key = f'k:{{"uid":"{uid}"}}'
    inner = {".": {}, "f:kind": {}, "f:name": {}, "f:uid": {}}
    meta = {**FIELDS["f:metadata"], "f:ownerReferences": {".": {}, key: inner}}
    return wanted, {**FIELDS, "f:metadata": meta}


def test_children_that_are_alike_are_told_apart_by_their_owner() -> None:
    for uid in ("one", "two"):
        wanted, fields = owned(uid)
        found = live(wanted, fields)
        assert live_digest(found) == wanted_digest(wanted)
        assert live_digest(found) != wanted_digest(owned("three")[0])
        mine, theirs = found["metadata"]["ownerReferences"], [{"name": "t", "uid": "theirs"}]
        found["metadata"]["ownerReferences"] = [*theirs, *mine]
        assert live_digest(found) == wanted_digest(wanted)
        for left in ([], theirs):
            found["metadata"]["ownerReferences"] = left
            assert live_digest(found) != wanted_digest(wanted)
        del found["metadata"]["ownerReferences"]
        assert live_digest(found) != wanted_digest(wanted)


def test_an_edited_field_is_seen_and_a_lost_entry_too() -> None:
    found = live(WANTED, FIELDS)
    found["metadata"]["labels"] = {"a": "2"}
    assert live_digest(found) != wanted_digest(WANTED)
    assert live_digest(WANTED) is None


@given(LEGAL, st.sampled_from(["ingest", "backup-monthly", "worker-" + "x" * 23]))
def test_names_of_children_are_legal(store: str, part: str) -> None:
    name = names.child(store, part)
    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= 52
    assert name.endswith(part)


@given(LEGAL, LEGAL)
def test_two_stores_never_share_a_child(one: str, other: str) -> None:
    if one != other:
        assert names.child(one, "ingest") != names.child(other, "ingest")
        assert names.shared("ns", one) != names.shared("ns", other)


@pytest.mark.parametrize(
    ("image", "than", "older"),
    [
        ("analect:1.9.0", "analect:1.10.0", True),
        ("r/analect:v2.0.0", "analect:1.9.9", False),
        ("analect:latest", "analect:1.0.0", False),
        ("analect@sha256:00", "analect:1.0.0", False),
    ],
)
def test_older_images_are_known_by_their_numbers(image: str, than: str, older: bool) -> None:
    assert _older(image, than) is older


@pytest.mark.parametrize(
    ("schedule", "zone", "then"),
    [
        ("0 2 * * *", "Etc/UTC", "2026-03-29T02:00:00Z"),
        ("@daily", "Europe/Berlin", "2026-03-29T22:00:00Z"),
        ("0 9 * * MON", "America/New_York", "2026-03-30T13:00:00Z"),
        ("*/15 * * * *", "Asia/Kolkata", "2026-03-29T00:45:00Z"),
        ("0 0 30 2 *", "Etc/UTC", None),
        ("99 2 * * *", "Etc/UTC", None),
        ("0 2 * * *", "Mars/Olympus", None),
    ],
)
def test_when_a_schedule_is_next_due(schedule: str, zone: str, then: str | None) -> None:
    now = micros_of("2026-03-29T00:30:00Z")
    assert next_tick(schedule, zone, now) == then
    assert next_tick(schedule, zone, now + 59_000_000) == then


def test_every_metric_and_setting_is_documented() -> None:
    page = REFERENCE.read_text("utf-8")
    registry = Metrics().registry
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
    }
    assert [name for name in families if f"`{name}`" not in page] == []
    source = Path(settings.__file__).read_text("utf-8")
    said = set(re.findall(r'(?:said|number)\("([A-Z_]+)"', source))
    assert [name for name in said if f"`{PREFIX}{name}`" not in page] == []


def test_an_address_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="ANALECT_OPERATOR_RUNBOOKS_URL"):
        OperatorOptions.from_environment({"ANALECT_OPERATOR_RUNBOOKS_URL": "docs/runbooks"})


def test_a_series_goes_with_its_store() -> None:
    metrics = Metrics()

    def told() -> dict[str, float]:
        return {one.labels["store"]: one.value for one in metrics.backup_age.collect()[0].samples}

    metrics.tell(metrics.backup_age, {("team", "one"): 1.0, ("team", "two"): 2.0})
    assert told() == {"one": 1.0, "two": 2.0}
    metrics.tell(metrics.backup_age, {("team", "two"): 3.0, ("team", "three"): 4.0})
    assert told() == {"two": 3.0, "three": 4.0}


def test_options_come_from_the_environment() -> None:
    options = OperatorOptions.from_environment(
        {"ANALECT_OPERATOR_NAMESPACES": "a, b", "ANALECT_OPERATOR_PORT": "9000"}
    )
    assert options.namespaces == ("a", "b")
    assert options.namespace == "a"
    assert options.port == 9000


def test_an_event_tells_nothing_that_another_one_does() -> None:
    def told(*verdicts: Verdict, first: bool = False) -> list[str]:
        changed = merged((), verdicts, 1, "now")
        return [one["type"] for one in worth_telling(changed, first=first)]

    unready = no("Ready", "NotReady", "SearchReady=False: it refused the password")
    search = no("SearchReady", "NotReady", "it refused the password")
    assert told(unready, search, yes("QueueReady", "Answers")) == ["Ready"]
    assert told(unready, search, no("GraphReady", "NotReady", "away")) == ["Ready", "GraphReady"]
    assert told(yes("Ready", "AllAvailable"), yes("SearchReady", "Answers")) == ["Ready"]
    assert told(yes("SearchReady", "Answers"), search) == ["SearchReady", "SearchReady"]
    assert told(unready, no("GraphReady", "NotReady", "away"), first=True) == ["Ready"]
    assert told(yes("Accepted", "Governs"), first=True) == []


def pod(name: str, component: str, made: str, **status: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component}
    meta = {"name": name, "namespace": "team", "labels": labels, "creationTimestamp": made}
    return {"metadata": meta, "status": status}


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"image": "analect:1", "ready": False, **state}]}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({}, None),
        (container(state={"waiting": {"reason": "ContainerCreating"}}), None),
        (container(state={"running": {}}), None),
        (container(ready=True, lastState={"terminated": {"message": "long ago"}}), None),
        (
            container(state={"waiting": {"reason": "ErrImagePull", "message": "rpc error"}}),
            "the image analect:1 cannot be pulled; `kubectl -n team describe pod a` says why",
        ),
        (
            container(
                state={"waiting": {"reason": "CreateContainerConfigError", "message": "no key b"}}
            ),
            "pod a: CreateContainerConfigError: no key b",
        ),
        (
            container(state={"running": {}}, lastState={"terminated": {"message": "log\nwhy\n"}}),
            "pod a ended: why",
        ),
        (
            container(state={"terminated": {"exitCode": 1, "message": "\n"}}),
            "pod a ended: with exit code 1, without a word",
        ),
        (
            container(lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            "pod a ended: it used more memory than its limit (OOMKilled); give it more",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]},
            "pod a finds no node: 0/1 nodes",
        ),
        ({"phase": "Failed"} | container(state={"terminated": {"message": "a Job's"}}), None),
    ],
)
def test_a_pod_that_is_not_ready_says_why(status: dict[str, Any], says: str | None) -> None:
    found = complaints([pod("a", "ingest", "2026-01-01T00:00:00Z", **status)])
    assert found == ({} if says is None else {"ingest": says})


def test_the_newest_pod_that_complains_is_quoted() -> None:
    def ended(words: str) -> dict[str, Any]:
        return container(state={"terminated": {"message": words}})

    going = pod("d", "query", "2026-01-04T00:00:00Z", **ended("goes"))
    going["metadata"]["deletionTimestamp"] = "2026-01-04T00:00:00Z"
    pods = [
        pod("a", "query", "2026-01-01T00:00:00Z", **ended("old")),
        pod("b", "query", "2026-01-02T00:00:00Z", **ended("new")),
        pod("c", "query", "2026-01-03T00:00:00Z"),
        going,
    ]
    assert complaints(pods) == {"query": "pod b ended: new"}


def test_an_answer_that_comes_late_does_not_hide_what_happened_since() -> None:
    def deployment(version: int, ready: int) -> dict[str, Any]:
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "demo-query",
                "namespace": "s",
                "uid": "u",
                "resourceVersion": str(version),
            },
            "spec": {"replicas": 2},
            "status": {"readyReplicas": ready},
        }

    heard: list[int] = []
    children = Children(lambda _ref, child: heard.append(child.facts.ready))
    created = deployment(3, 0)
    children.observe(created, gone=False)
    children.observe(deployment(5, 2), gone=False)
    assert children.applied(created).version == 3
    live = children.get(Ref.of(created))
    assert live is not None
    assert (live.version, live.facts.ready) == (5, 2)
    children.applied(deployment(7, 1))
    children.observe(deployment(6, 2), gone=False)
    live = children.get(Ref.of(created))
    assert live is not None
    assert (live.version, live.facts.ready) == (7, 1)
    assert heard == [0, 2]
