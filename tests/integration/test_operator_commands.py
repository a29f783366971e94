"""What the operator tells pods to run and to be, the processes understand."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from analect.cli.app import app
from analect.settings import Settings
from analect_operator.build.children import children
from analect_operator.build.environment import settings, variables
from analect_operator.build.jobs import Policy, fence, migration
from analect_operator.build.site import Site
from analect_operator.specs.retention import RetentionSpec
from analect_operator.specs.store import StoreSpec
from analect_operator.works import work_run

SPEC: dict[str, Any] = {
    "database": {"managed": {}},
    "queue": {"managed": {}},
    "search": {"managed": {}},
    "graph": {"managed": {}},
    "objectStore": {"url": "s3://bucket/prefix", "secretRef": {"name": "s3"}},
    "backup": {},
    "archive": {},
}
STORE = {"storeRef": {"name": "demo"}}
WORKS = [
    {"kind": "Backup", "spec": STORE},
    {"kind": "Restore", "spec": STORE | {"backupId": "b-1", "dryRun": True}},
    {"kind": "Erasure", "spec": STORE | {"sessionId": "s"}},
    {"kind": "Erasure", "spec": STORE | {"threadId": "t"}},
    {"kind": "Erasure", "spec": STORE | {"subjectSecretRef": {"name": "a", "key": "b"}}},
]


def site(spec: dict[str, Any]) -> Site:
    return Site("demo", "team", "uid", StoreSpec.model_validate(spec), "analect:1")


def commands() -> list[list[str]]:
    policies = [
        Policy("p", RetentionSpec.model_validate(STORE | {"dryRun": dry})) for dry in (False, True)
    ]
    found = []
    stores = (site(SPEC), site({"embedded": {}, "backup": {"volume": {}}}))
    for where, policy in zip(stores, policies, strict=True):
        for one in [*children(where, policy), migration(where), fence(where, "key")]:
            spec = one.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            if "template" in spec:
                command = spec["template"]["spec"]["containers"][0].get("command", [])
                found.append(command[4:] if command[:1] == ["sh"] else command[1:])
    found += [list(work_run(site(SPEC), body).arguments) for body in WORKS]
    stopped = site(SPEC | {"mode": "Stopped"})
    found.append(list(work_run(stopped, {"kind": "Restore", "spec": STORE}).arguments))
    return [command for command in found if command and not command[0].startswith("exec")]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_the_command_line_knows_it(command: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    context = group.make_context("analect", [], resilient_parsing=True)
    rest = [*command]
    while hasattr(group, "commands"):
        name = rest.pop(0)
        assert name in group.commands, f"there is no command {name}"
        group = group.commands[name]
    group.make_context(command[0], rest, parent=context)


def test_the_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    where = site(SPEC)
    for name, value in settings(where).items():
        monkeypatch.setenv(name, value)
    for one in variables(where):
        monkeypatch.setenv(one["name"], one.get("value", "secret"))
    found = Settings()
    assert found.http.port == 8080
    assert found.keys.kek == "env"
    assert found.queue_url is not None
