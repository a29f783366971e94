"""Policies from files: YAML or JSON, plain or as a RetentionPolicy resource."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analect.lifecycle.retention.policy import DEFAULTS, Policy
from analect.model.errors import ConfigurationError, Conflict

_RESOURCE_ONLY = ("storeRef", "backups")
"""What a resource says to the operator alone."""


def load_policies(paths: Iterable[Path]) -> tuple[Policy, ...]:
    """The policies of these files in the order of their names; :data:`DEFAULTS` without any.

    Raises:
        ConfigurationError: a file cannot be read, or says something wrong; ``field`` names where.
        Conflict: one would delete what another holds.
    """
    policies = sorted((load_policy(path) for path in paths), key=lambda policy: policy.name)
    check_together(policies)
    return tuple(policies) or (DEFAULTS,)


def load_policy(path: Path) -> Policy:
    """One file.

    Raises:
        ConfigurationError: it cannot be read, or says something wrong.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the policy {path} cannot be read", field="policy") from error
    return parse_policy(_parsed(text, path), name=path.stem)


def parse_policy(said: Any, *, name: str = "policy") -> Policy:
    """A policy from plain data: its own fields, or a resource with ``metadata`` and ``spec``.

    Raises:
        ConfigurationError: something in it is wrong.
    """
    if not isinstance(said, dict):
        raise ConfigurationError(f"policy {name}: it must be an object", field="policy")
    if "spec" in said:
        if said.get("kind") != "RetentionPolicy" or not isinstance(said["spec"], dict):
            raise ConfigurationError(
                f"policy {name}: a resource must be of kind RetentionPolicy", field="kind"
            )
        name = str((said.get("metadata") or {}).get("name", name))
        said = {key: one for key, one in said["spec"].items() if key not in _RESOURCE_ONLY}
    try:
        return Policy.model_validate({"name": name, **said})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        wrong = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
        raise ConfigurationError(
            f"policy {name}: {place + ': ' if place else ''}{wrong}", field=place or None
        ) from None


def check_together(policies: Sequence[Policy]) -> None:
    """Refuse policies that contradict each other.

    Raises:
        ConfigurationError: two have the same name.
        Conflict: one would delete what another holds.
    """
    names = [policy.name for policy in policies]
    if len(names) != len(set(names)):
        raise ConfigurationError("two policies have the same name", field="name")
    for deleting in policies:
        for holding in policies:
            if holding is not deleting:
                _check_pair(deleting, holding)


def _check_pair(deleting: Policy, holding: Policy) -> None:
    known = [hold.selector for hold in deleting.legal_holds]
    unknown = [hold for hold in holding.legal_holds if hold.selector not in known]
    for rule in deleting.rules:
        for hold in unknown:
            if rule.deletes and rule.selector.meets(hold.selector):
                raise Conflict(
                    f"policy {deleting.name} is refused: its rule {rule.name} would delete what "
                    f"policy {holding.name} holds by {hold.name}; narrow the rule's selector, or "
                    f"put the hold into policy {deleting.name} as well",
                    field="rules",
                )


def _parsed(text: str, path: Path) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "policies need the extra archive: pip install 'analect[archive]'"
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"the policy {path} is no YAML or JSON", field="policy") from error
