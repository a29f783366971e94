"""From a spec to manifests, by example."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from analect_operator.asking import engine_states, wanted_workers
from analect_operator.build.children import children
from analect_operator.build.environment import settings
from analect_operator.build.jobs import Policy, backup_place, migration
from analect_operator.build.site import Cluster, Manifest, Site
from analect_operator.build.volumes import generated_secret
from analect_operator.dispatchers import Engine
from analect_operator.specs.retention import RetentionSpec
from analect_operator.specs.store import StoreSpec
from analect_operator.specs.workloads import BacklogAutoscaling
from analect_operator.works import work_run

FULL: dict[str, Any] = {
    "database": {
        "external": {
            "url": "postgresql://db:5432/analect",
            "secretRef": {"name": "db", "usernameKey": "user", "passwordKey": "password"},
            "ca": {"name": "db-ca"},
        }
    },
    "queue": {
        "external": {
            "url": "redis://valkey:6379/0",
            "secretRef": {"name": "valkey", "passwordKey": "password"},
        }
    },
    "search": {"managed": {}},
    "graph": {"managed": {}},
    "objectStore": {"url": "s3://bucket/prefix/", "secretRef": {"name": "s3"}},
    "backup": {},
    "archive": {},
    "apiKeys": {"name": "callers", "key": "hashes"},
}


def site(spec: dict[str, Any] | None = None, **more: Any) -> Site:
    return Site("demo", "team", "uid", StoreSpec.model_validate(spec or FULL), "analect:1", **more)


def made(where: Site) -> dict[tuple[str, str], Manifest]:
    return {(one["kind"], one["metadata"]["name"]): one for one in children(where)}


def pods(where: Site) -> list[Manifest]:
    found = []
    for one in [*children(where), migration(where)]:
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            found.append(spec["template"])
    return found


def container(where: Site, name: str) -> Manifest:
    pod = made(where)["Deployment", name]["spec"]["template"]["spec"]
    return dict(pod["containers"][0])


def test_every_pod_is_restricted_and_without_a_token() -> None:
    found = pods(site()) + pods(site({"embedded": {}, "backup": {"volume": {}}}))
    assert len(found) > 15
    for pod in found:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for one in spec["containers"]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_values_of_secrets_come_by_reference_only() -> None:
    env = {one["name"]: one for one in container(site(), "demo-ingest")["env"]}
    assert env["PGPASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "db", "key": "password"}
    assert env["ANALECT_DATABASE_URL"]["value"] == "postgresql://db:5432/analect"
    assert env["PGSSLMODE"]["value"] == "verify-full"
    assert env["ANALECT_QUEUE__URL"]["value"] == "redis://:$(QUEUE_PASSWORD)@valkey:6379/0"
    names = [one["name"] for one in container(site(), "demo-ingest")["env"]]
    assert names.index("QUEUE_PASSWORD") < names.index("ANALECT_QUEUE__URL")
    assert env["ANALECT_KEYS__KEK_VALUE"]["valueFrom"]["secretKeyRef"]["name"] == "demo-generated"


def test_nothing_the_server_would_drop_is_emitted() -> None:
    def hollow(part: Any, path: str = "") -> list[str]:
        if isinstance(part, dict):
            return [bad for name, one in part.items() for bad in hollow(one, f"{path}.{name}")]
        if isinstance(part, list):
            return [path] if not part else [bad for one in part for bad in hollow(one, path + "[]")]
        return [path] if part is None or part == "" else []

    for one in [*children(site()), *children(site({"embedded": {}})), migration(site())]:
        assert hollow(one) == []


def test_without_an_engine_no_pod_keeps_an_index() -> None:
    spec = {name: part for name, part in FULL.items() if name not in {"search", "graph"}}
    found = settings(site(spec))
    assert found["ANALECT_INDEX__TEXT"] == found["ANALECT_INDEX__GRAPH"] == "false"
    assert not any("worker" in name for _kind, name in made(site(spec)))


def test_a_changed_secret_changes_every_pod_and_nothing_else() -> None:
    before, after = site(secrets={"db": "1"}), site(secrets={"db": "2"})
    changed = {
        key for key, one in made(after).items() if json.dumps(one) != json.dumps(made(before)[key])
    }
    assert {kind for kind, _name in changed} == {"Deployment", "CronJob"}


def test_a_new_version_leaves_managed_servers_alone() -> None:
    old, new = site(), replace(site(), image="analect:2")
    for part in ("search", "graph"):
        key = ("StatefulSet", f"demo-{part}")
        assert made(old)[key]["spec"] == made(new)[key]["spec"]
    assert container(new, "demo-ingest")["image"] == "analect:2"


@pytest.mark.parametrize(
    ("mode", "ingest", "query", "suspended"),
    [("Active", 2, 2, False), ("ReadOnly", 0, 2, False), ("Stopped", 0, 0, True)],
)
def test_modes(mode: str, ingest: int, query: int, suspended: bool) -> None:
    found = made(site(FULL | {"mode": mode}))
    assert found["Deployment", "demo-ingest"]["spec"]["replicas"] == ingest
    assert found["Deployment", "demo-query"]["spec"]["replicas"] == query
    assert found["CronJob", "demo-backup-daily"]["spec"]["suspend"] is suspended


def test_what_outlives_the_store_has_no_owner() -> None:
    claim = ("PersistentVolumeClaim", "demo-keys")
    assert "ownerReferences" not in made(site())[claim]["metadata"]
    gone = made(site(FULL | {"deletionPolicy": "Delete"}))[claim]
    assert gone["metadata"]["ownerReferences"][0]["uid"] == "uid"
    secret = generated_secret(site(), bytes)
    assert "ownerReferences" not in secret["metadata"]


def test_backups_go_to_the_bucket_or_the_volume() -> None:
    assert backup_place(site()) == "s3://bucket/prefix/backups"
    volume = site({"embedded": {}, "backup": {"volume": {}}})
    assert backup_place(volume) == "/var/lib/analect-backups"
    job = made(volume)["CronJob", "demo-backup-daily"]["spec"]["jobTemplate"]["spec"]["template"]
    assert "backups" in {one["name"] for one in job["spec"]["volumes"]}


def test_a_policy_is_what_the_job_reads() -> None:
    spec = RetentionSpec.model_validate(
        {"storeRef": {"name": "demo"}, "dryRun": True, "rules": [{"name": "r", "hotDays": 1}]}
    )
    found = {
        (one["kind"], one["metadata"]["name"]): one
        for one in children(site(), Policy("keep", spec))
    }
    policy = json.loads(found["ConfigMap", "demo-retention"]["data"]["policy.json"])
    assert policy["rules"][0]["hotDays"] == 1
    assert "storeRef" not in policy
    cron_job = found["CronJob", "demo-retention"]["spec"]["jobTemplate"]["spec"]["template"]
    command = cron_job["spec"]["containers"][0]["command"]
    assert command[4:] == [
        *("retention", "plan", "--totals"),
        *("--policy", "/etc/analect/retention/policy.json"),
    ]


def test_the_archive_job_ages_by_the_same_policy_and_rests_while_it_only_plans() -> None:
    def archive(policy: dict[str, Any] | None) -> tuple[list[str], bool]:
        spec = RetentionSpec.model_validate({"storeRef": {"name": "demo"}} | (policy or {}))
        given = Policy("keep", spec) if policy is not None else None
        found = {
            one["metadata"]["name"]: one["spec"] for one in children(site(), given) if "spec" in one
        }
        cron_job = found["demo-archive"]
        pod = cron_job["jobTemplate"]["spec"]["template"]["spec"]
        return pod["containers"][0]["command"][4:], cron_job["suspend"]

    assert archive(None) == (["archive"], False)
    by_policy = ["archive", "--policy", "/etc/analect/retention/policy.json"]
    assert archive({}) == (by_policy, False)
    assert archive({"dryRun": True}) == (by_policy, True)


def test_a_subject_is_never_an_argument() -> None:
    body = {
        "kind": "Erasure",
        "spec": {
            "storeRef": {"name": "demo"},
            "subjectSecretRef": {"name": "who", "key": "subject"},
        },
    }
    run = work_run(site(), body)
    assert run.arguments == ("erase", "subject", "--file", "/run/analect/subject/subject", "--yes")
    assert run.volumes[0][2] == {"secret": {"secretName": "who"}}


def test_keda_scales_workers_where_it_is_there() -> None:
    spec = FULL | {"processors": [{"name": "text", "autoscaling": {"min": 0, "max": 5}}]}
    ours = made(site(spec, workers={"text": 3}))
    assert ours["Deployment", "demo-worker-text"]["spec"]["replicas"] == 3
    theirs = made(site(spec, cluster=Cluster(frozenset({"ScaledObject"}))))
    assert "replicas" not in theirs["Deployment", "demo-worker-text"]["spec"]
    scaled = theirs["ScaledObject", "demo-worker-text"]["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (0, 5)


def test_a_worker_does_as_much_at_once_as_it_is_told() -> None:
    spec = FULL | {"processors": [{"name": "text", "concurrency": 3}, {"name": "graph"}]}
    found = made(site(spec))

    def said(name: str) -> dict[str, str]:
        (container,) = found["Deployment", f"demo-worker-{name}"]["spec"]["template"]["spec"][
            "containers"
        ]
        return {
            one["name"]: one["value"]
            for one in container["env"]
            if "QUEUE__" in one["name"] and "value" in one
        }

    ways = {"ANALECT_QUEUE__WORKER": "pool", "ANALECT_QUEUE__PROCESSES": "3"}
    assert said("text") == said("graph") | ways
    assert not said("graph").keys() & ways


@pytest.mark.parametrize(("entries", "wanted"), [(0, 1), (100, 1), (101, 2), (10_000, 5)])
def test_workers_by_backlog(entries: int, wanted: int) -> None:
    assert wanted_workers(BacklogAutoscaling(min=1, max=5), entries) == wanted


def test_engines_in_the_words_of_the_dispatcher() -> None:
    found = engine_states(site(), {"search": Engine("down", "it refused the password")})
    assert (found["search"].ready, found["search"].message) == (False, "it refused the password")
    assert set(found) == {"search"}
    said = {"search": Engine("ok"), "vectors": Engine("damaged")}
    assert engine_states(site(), said)["search"].message == "it is damaged"


def ways_out(spec: dict[str, Any]) -> list[Manifest]:
    closed = spec | {"networkPolicy": {"enabled": True, "allowToPorts": [8443]}}
    (policy,) = [one for one in children(site(closed)) if one["kind"] == "NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    return list(policy["spec"]["egress"])


def reached(ways: list[Manifest]) -> list[int]:
    """The ports that may be called wherever they are, but those of name servers."""
    return [one["port"] for way in ways if "to" not in way for one in way["ports"]][2:]


def test_pods_call_the_servers_of_their_store_and_nobody_else() -> None:
    one_another, names, *_rest = ways_out(FULL)
    assert one_another == {
        "to": [
            {
                "podSelector": {
                    "matchLabels": {
                        "app.kubernetes.io/name": "analect",
                        "app.kubernetes.io/instance": "demo",
                    }
                }
            }
        ]
    }
    assert [(one["port"], one["protocol"]) for one in names["ports"]] == [(53, "TCP"), (53, "UDP")]
    # Managed engines are pods of the store's own.
    assert reached(ways_out(FULL)) == [443, 5432, 6379, 8443]
    assert reached(ways_out({"embedded": {}})) == [8443]


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("postgresql://db/a", [5432]),
        ("postgresql://db:6432/a", [6432]),
        ("postgresql://one:1111,two:2222/a?target_session_attrs=read-write", [1111, 2222]),
        ("postgresql://[2001:db8::1]/a", [5432]),
        ("postgresql://[2001:db8::1]:6432/a", [6432]),
    ],
)
def test_ports_are_those_of_the_address(url: str, ports: list[int]) -> None:
    servers = {
        "database": {"external": {"url": url}},
        "queue": {"external": {"secretRef": {"name": "q", "urlKey": "url"}}},
    }
    assert reached(ways_out(servers)) == sorted([*ports, 6379, 8443])


def test_a_bucket_without_a_key_is_opened_by_what_the_cloud_says_of_the_pod() -> None:
    open_bucket = {"embedded": {}, "objectStore": {"url": "s3://bucket/a"}}
    assert {
        "to": [{"ipBlock": {"cidr": "169.254.0.0/16"}}],
        "ports": [{"port": 80, "protocol": "TCP"}],
    } in ways_out(open_bucket)


def test_the_operator_and_named_namespaces_come_in() -> None:
    closed = FULL | {"networkPolicy": {"enabled": True, "allowFromNamespaces": ["web"]}}
    where = site(closed, cluster=Cluster(operator="operators"))
    (policy,) = [one for one in children(where) if one["kind"] == "NetworkPolicy"]
    _one_another, callers = policy["spec"]["ingress"]
    assert [one["port"] for one in callers["ports"]] == [8080]
    spaces = [
        one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for one in callers["from"]
    ]
    assert spaces == ["team", "web", "operators"]
    assert all("podSelector" not in one for one in callers["from"][:-1])
    assert callers["from"][-1]["podSelector"] == {
        "matchLabels": {"app.kubernetes.io/name": "analect-operator"}
    }


def budgets(spec: dict[str, Any]) -> set[str]:
    found = [one for one in children(site(spec)) if one["kind"] == "PodDisruptionBudget"]
    # As a number that must be there it would hold up the drain of the last pod for ever.
    assert all(one["spec"]["maxUnavailable"] == 1 for one in found)
    return {one["metadata"]["name"] for one in found}


def test_where_there_can_be_several_one_goes_at_a_time() -> None:
    assert budgets(FULL) == {"demo-ingest", "demo-query"}
    several = FULL | {
        "dispatcher": {"replicas": 2},
        "processors": [
            {"name": "text", "replicas": 3},
            {"name": "vectors", "autoscaling": {"min": 0, "max": 5}},
            {"name": "graph", "replicas": 1},
        ],
    }
    more = {"demo-dispatcher", "demo-worker-text", "demo-worker-vectors"}
    assert budgets(several) == budgets(FULL) | more
    assert budgets({"embedded": {}}) == set()


def test_alerts_lead_to_pages_where_somebody_said_where_these_are() -> None:
    def notes(runbooks: str) -> list[dict[str, str]]:
        cluster = Cluster(frozenset({"PrometheusRule"}), runbooks=runbooks)
        (found,) = [
            one for one in children(site(cluster=cluster)) if "groups" in one.get("spec", ())
        ]
        return [one["annotations"] for one in found["spec"]["groups"][0]["rules"]]

    assert all(set(one) == {"summary", "runbook"} for one in notes(""))
    for one in notes("https://wiki.example.org/runbooks/"):
        name = one["runbook"].removeprefix("docs/runbooks/")
        assert one["runbook_url"] == f"https://wiki.example.org/runbooks/{name}"


def test_pods_that_answer_are_found_by_a_plain_prometheus() -> None:
    name = "prometheus.io/scrape"
    for one in pods(site()):
        serves = "readinessProbe" in one["spec"]["containers"][0]
        ours = "app.kubernetes.io/part-of" in one["metadata"]["labels"]
        assert (name in one["metadata"].get("annotations", {})) is (serves and ours)
    quiet = FULL | {"monitoring": {"scrapeAnnotations": False}}
    assert not any(name in one["metadata"].get("annotations", {}) for one in pods(site(quiet)))
