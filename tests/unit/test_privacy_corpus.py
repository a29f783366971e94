"""The gate: what must be found is found, and look-alikes are left alone."""

import json
from collections import Counter
from pathlib import Path

import pytest

from analect.privacy.pseudonymise import Pseudonymiser

CORPUS = Path(__file__).parent.parent / "corpus"
RECALL = {
    "email": 0.99,
    "ip": 0.99,
    "iban": 0.99,
    "ssn": 0.99,
    "secret": 0.99,
    "credentials": 0.99,
    "mac": 0.99,
    "user-agent": 0.95,
    "phone": 0.95,
    "card": 0.95,
}
MOST_TOUCHED = 0.002


@pytest.fixture(scope="module")
def pseudonymiser():
    return Pseudonymiser(b"corpus" * 6, detectors=[])


def read(name):
    with (CORPUS / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_corpus_is_large_enough():
    kinds = Counter(case["kind"] for case in read("positives.jsonl"))
    assert set(kinds) == set(RECALL)
    assert kinds.total() >= 500
    assert len(read("negatives.jsonl")) >= 2000


@pytest.mark.parametrize("kind", RECALL)
def test_recall(pseudonymiser, kind):
    cases = [case for case in read("positives.jsonl") if case["kind"] == kind]
    missed = [case for case in cases if case["value"] in pseudonymiser.text(case["text"])]
    assert 1 - len(missed) / len(cases) >= RECALL[kind], missed


@pytest.mark.parametrize("kind", RECALL)
def test_the_token_says_the_right_kind(pseudonymiser, kind):
    cases = [case for case in read("positives.jsonl") if case["kind"] == kind]
    wrong = [case for case in cases if f"<{kind}:" not in pseudonymiser.text(case["text"])]
    assert len(wrong) / len(cases) <= 1 - RECALL[kind], wrong


def test_look_alikes_are_left_alone(pseudonymiser):
    cases = read("negatives.jsonl")
    touched = [case for case in cases if pseudonymiser.text(case["text"]) != case["text"]]
    assert len(touched) / len(cases) <= MOST_TOUCHED, touched
