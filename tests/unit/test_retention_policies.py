"""Policies as data: two forms that mean the same, policies that contradict each other, and the one
that is shipped.
"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from analect.lifecycle.retention.loading import check_together, load_policies, parse_policy
from analect.lifecycle.retention.policy import FAMILIES, LegalHold, Policy, Rule, Selector
from analect.lifecycle.tiers.summing import FAMILIES as COUNTED
from analect.model.errors import ConfigurationError, Conflict
from analect_operator.specs import retention

HELD = {"tags": ["case-17"]}


def policy(
    name: str, rule: dict[str, Any] | None = None, held: dict[str, Any] | None = None
) -> Policy:
    return parse_policy(
        {
            "rules": [{"name": "old", "hotDays": 30, **rule}] if rule else [],
            "legalHolds": [{"name": "case-17", "selector": held}] if held else [],
        },
        name=name,
    )


def test_one_that_would_delete_what_another_holds_is_refused_with_both_named() -> None:
    deleting = policy("cleaning", {"selector": {"kinds": ["task"]}, "then": "delete"})
    with pytest.raises(Conflict) as caught:
        check_together([deleting, policy("lawyers", held=HELD)])
    for name in ("cleaning", "old", "lawyers", "case-17"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "held"),
    [
        ({"selector": {"kinds": ["task"]}, "then": "delete"}, {"kinds": ["incident"]}),
        ({"selector": {"success": True}, "then": "aggregate"}, {"success": False}),
        ({"selector": {"olderThan": "90d"}, "then": "delete"}, {"newerThan": "30d"}),
        ({"then": "archive"}, HELD),
    ],
    ids=["kinds", "success", "ages", "nothing is deleted"],
)
def test_policies_that_cannot_meet_stand_together(
    rule: dict[str, Any], held: dict[str, Any]
) -> None:
    check_together([policy("cleaning", rule), policy("lawyers", held=held)])


def test_one_that_has_the_hold_too_is_not_refused() -> None:
    """As the refusal advises."""
    deleting = policy("cleaning", {"then": "delete"}, HELD)
    check_together([deleting, policy("lawyers", held=HELD)])
    with pytest.raises(Conflict):
        check_together([deleting, policy("lawyers", held={"tags": ["case-18"]})])


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        check_together([policy("one"), policy("one")])


def test_a_resource_means_the_same_as_its_fields() -> None:
    said = {"rules": [{"name": "old", "hotDays": 30}], "dryRun": True}
    whole = {
        "kind": "RetentionPolicy",
        "metadata": {"name": "ours"},
        "spec": {**said, "storeRef": {"name": "demo"}, "backups": {}},
    }
    assert parse_policy(whole) == parse_policy(said, name="ours")


@pytest.mark.parametrize(
    ("form", "resource", "apart"),
    [
        (Policy, retention.RetentionSpec, {"name"}),
        (Rule, retention.RetentionRule, set()),
        (Selector, retention.Selector, {"subjects"}),
        (LegalHold, retention.LegalHold, set()),
    ],
)
def test_a_resource_has_every_field_of_the_form(
    form: type[BaseModel], resource: type[BaseModel], apart: set[str]
) -> None:
    assert form.model_fields.keys() - apart <= resource.model_fields.keys()


def test_every_family_of_a_resource_is_one() -> None:
    assert retention.AggregateDays.model_fields.keys() == set(FAMILIES)


def test_what_is_wrong_is_named() -> None:
    for said, place in (
        ({"rules": [{"name": "x", "hotDays": 9, "warmDays": 9}]}, "rules.0"),
        ({"rules": [{"name": "x", "hotDay": 9}]}, "rules.0.hotDay"),
        ({"rules": [{"name": "x", "selector": {"olderThan": "soon"}}]}, "olderThan: write an age"),
        (
            {"rules": [{"name": "x", "selector": {"kinds": "task"}}]},
            "kinds: Input should be a list",
        ),
        ({"timeZone": "Mars/Olympus"}, "timeZone: there is no time zone"),
        ({"aggregates": {"session": 9}}, "no aggregates session, only"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            parse_policy(said)
        assert place in str(caught.value)


def test_every_family_of_aggregates_can_be_named() -> None:
    assert set(FAMILIES) == set(COUNTED)


def test_the_shipped_policy() -> None:
    (shipped,) = load_policies([])

    def said(name: str) -> tuple[Any, ...]:
        rule: Rule = next(one for one in shipped.rules if one.name == name)
        return rule.stages

    assert said("interactions") == (("hot", 90), ("warm", 730), ("cold", 1095), ("gone", None))
    assert said("session-detail") == (("hot", 30), ("gone", None))
    assert said("performance-metrics") == (("hot", 90), ("warm", 365), ("gone", None))
    assert said("business-metrics") == (("hot", 90), ("gone", None))
    # Those of interactions and of business are kept for ever.
    assert shipped.aggregates == {"sessions": 365, "performance": 1095}
    assert [one.name for one in shipped.rules][-1] == "interactions"
