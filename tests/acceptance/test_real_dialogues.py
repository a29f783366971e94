"""Real dialogues go in through HTTP, a thread each, and come out complete, in order, findable."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import Place, Server

ROOT = Path(__file__).parents[2]
DATA = Path(
    os.environ.get("ANALECT_TEST_DATA") or ROOT.parent / "shared/data/conversations.jsonl.gz"
)
DAY = "2025-06-{:02d}T{:02d}:{:02d}:{:02d}Z"
EVERY = 5
"""Of so many dialogues one is also looked for."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A server that holds the dialogues."""

    server: Server
    dialogues: list[dict[str, Any]]


def turns(place: int, dialogue: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A dialogue's records, a second apart."""
    for number, turn in enumerate(dialogue["turns"]):
        said = "input" if turn["role"] == "user" else "output"
        yield {
            "kind": "message",
            "external_id": f"{dialogue['id']}/{number}",
            "source": "dialogues",
            "occurred_at": DAY.format(place // 60 + 1, place % 60 // 3, place % 3, number),
            "thread_id": dialogue["id"],
            "turn": number,
            "role": turn["role"],
            "tags": dialogue["topics"],
            said: turn["text"],
        }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    if not DATA.is_file():
        pytest.skip(f"the real dialogues are not here ({DATA}); ANALECT_TEST_DATA names them")
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        dialogues = [json.loads(line) for line in file]
    records = [
        record for place, dialogue in enumerate(dialogues) for record in turns(place, dialogue)
    ]
    place = Place(tmp_path_factory.mktemp("dialogues"), {"ANALECT_INDEX__VECTORS": "true"})
    with place.server() as server:
        for first in range(0, len(records), 500):
            some = records[first : first + 500]
            answer = server.http.post("/v1/records", json=some).json()
            assert (answer["accepted"], answer["rejected"]) == (len(some), [])
        status = server.settle(120)
        assert status["store"]["records"] == len(records)
        yield Filled(server, dialogues)


def test_every_dialogue_comes_back_whole_and_in_order(filled: Filled) -> None:
    assert len(filled.dialogues) == 866
    kept = told = 0
    for dialogue in filled.dialogues:
        page = filled.server.http.get(
            f"/v1/threads/{dialogue['id']}", params={"limit": "1000"}
        ).json()
        assert page["next"] is None
        found = page["items"]
        assert [record["turn"] for record in found] == list(range(len(dialogue["turns"])))
        for record, turn in zip(found, dialogue["turns"], strict=True):
            assert record["role"] == turn["role"]
            text = record["input" if turn["role"] == "user" else "output"]
            told += 1
            kept += text == turn["text"]
            if text != turn["text"]:
                assert "<" in text, text  # a token stands where a number or an address stood
    assert kept > 0.95 * told


def test_they_are_found_by_their_words(filled: Filled) -> None:
    for dialogue in filled.dialogues[::EVERY]:
        record = longest(filled, dialogue)
        phrase = longest_run(text_of(record))
        page = filled.server.http.get("/v1/search", params={"q": f'"{phrase}"', "limit": "200"})
        assert record["id"] in [hit["record"]["id"] for hit in page.json()["items"]], phrase


def longest_run(text: str) -> str:
    """The most words that stand beside each other, with nothing between them."""
    runs: list[list[str]] = [[]]
    for word in text.split():
        if word.isalpha():
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    return " ".join(max(runs, key=len))


@pytest.mark.parametrize("mode", ["semantic", "hybrid"])
def test_they_are_found_by_meaning(filled: Filled, mode: str) -> None:
    asked = hits = 0
    for dialogue in filled.dialogues[::EVERY]:
        record = longest(filled, dialogue)
        text = text_of(record).replace('"', " ").replace("<", " ").replace(">", " ")[:400]
        page = filled.server.http.post(
            "/v1/search", json={"q": text if mode == "semantic" else some_words(text), "mode": mode}
        )
        asked += 1
        hits += record["id"] in [hit["record"]["id"] for hit in page.json()["items"]]
    assert hits >= 0.9 * asked


def test_a_question_in_other_words_finds_its_topic(filled: Filled) -> None:
    for question, topic in (
        ("book a table for dinner tonight", "Restaurants"),
        ("which plane should I take", "Flights"),
        ("will it rain tomorrow", "Weather"),
    ):
        page = filled.server.http.get(
            "/v1/search", params={"q": question, "mode": "semantic", "limit": "20"}
        )
        topics = [tag for hit in page.json()["items"] for tag in hit["record"]["tags"]]
        assert sum(topic in tag for tag in topics) >= 5, (question, topics)


def longest(filled: Filled, dialogue: dict[str, Any]) -> dict[str, Any]:
    """The record of a dialogue that says the most, as it is stored."""
    page = filled.server.http.get(f"/v1/threads/{dialogue['id']}", params={"limit": "1000"})
    found: dict[str, Any] = max(page.json()["items"], key=lambda record: len(text_of(record)))
    return found


def text_of(record: dict[str, Any]) -> str:
    return str(record.get("input") or record.get("output"))


def some_words(text: str) -> str:
    return " ".join([word for word in text.split() if word.isalpha()][:12])
