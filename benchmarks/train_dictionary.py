"""Train the compression dictionary of sealed payloads, and measure what it gains.

    python benchmarks/train_dictionary.py train      writes analect/privacy/dictionaries/1.zdict
    python benchmarks/train_dictionary.py measure [dialogues.jsonl.gz]

The samples are made up, with a fixed seed: conversations, tool calls, task and incident analyses in
a dozen languages, in the shapes programs send. Nothing in the dictionary is anyone's. A dictionary
that was shipped never changes; a better one gets the next number.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import time
from pathlib import Path

import msgspec
import zstandard

SEED = 20250601
SAMPLES = 24_000
SIZE = 48 * 1024
FOLDER = Path(__file__).parent.parent / "analect" / "privacy" / "dictionaries"

STOCK = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
"""Sentences with gaps, what fills them, code, and common words, by language where it matters."""
NOUNS, VERBS, ADJECTIVES, GLUE = (
    STOCK[name].split() for name in ("nouns", "verbs", "adjectives", "glue")
)
OPENERS, ANSWERS, PHRASES = STOCK["openers"], STOCK["answers"], STOCK["phrases"]
CODE, MODELS, SYSTEM = STOCK["code"], STOCK["models"], STOCK["system"]
THINGS, ACTS, FREQUENT = STOCK["things"], STOCK["acts"], STOCK["frequent"]
LANGUAGES = ["en"] * 12 + [code for code in OPENERS if code != "en"]


def sentence(rng: random.Random, stock: dict[str, list[str]], language: str) -> str:
    things, acts = THINGS[language].split("|"), ACTS[language].split("|")
    return rng.choice(stock[language]).format(
        thing=rng.choice(things), thing2=rng.choice(things), act=rng.choice(acts)
    )


def question(rng: random.Random, language: str) -> str:
    return " ".join(sentence(rng, OPENERS, language) for _ in range(rng.choice([1, 1, 1, 2, 3])))


def answer(rng: random.Random, language: str) -> str:
    parts = [sentence(rng, ANSWERS, language) for _ in range(rng.choice([1, 1, 2, 3, 5, 8]))]
    form = rng.random()
    if form < 0.15:
        return parts[0] + "\n\n" + "\n".join(f"{n}. **{p}**" for n, p in enumerate(parts[1:], 1))
    if form < 0.25:
        return parts[0] + "\n\n- " + "\n- ".join(parts)
    if form < 0.35:
        return f"{parts[0]}\n\n```python\n{rng.choice(CODE)}```\n\n{parts[-1]}"
    if form < 0.42:
        return f"## Summary\n\n{' '.join(parts)}\n\n### Next steps\n\n{parts[-1]}"
    return " ".join(parts)


def prose(rng: random.Random, language: str) -> str:
    """Sentences of common words: what they say is nonsense, how they are spelled is not."""
    if language in FREQUENT:
        words = FREQUENT[language].split()
        gap = "" if language in {"zh", "ja"} else " "
        return gap.join(rng.choice(words) for _ in range(rng.randrange(4, 25))) + "."
    sentences = []
    for _ in range(rng.choice([1, 1, 2, 3, 4])):
        words = [rng.choice(PHRASES)] if rng.random() < 0.6 else []
        for _ in range(rng.randrange(2, 8)):
            words += [
                rng.choice(GLUE[:24]),
                rng.choice(rng.choice([NOUNS, NOUNS, ADJECTIVES, GLUE, VERBS])),
            ]
            if rng.random() < 0.3:
                words.append(rng.choice(VERBS))
            if rng.random() < 0.12:
                words.append(rng.choice(PHRASES))
        text = " ".join(words)
        sentences.append(text[0].upper() + text[1:] + rng.choice([".", ".", ".", "?", ",", "!"]))
    return " ".join(sentences)


def plain(rng: random.Random, language: str) -> list:
    texts = [prose(rng, language), prose(rng, language)]
    return [*texts, None, None] if rng.random() < 0.6 else [texts[0], None, None, None]


def token(rng: random.Random, kind: str) -> str:
    return f"<{kind}:{rng.getrandbits(64):016x}>"


def conversation(rng: random.Random, language: str) -> list:
    messages = [{"role": "system", "content": rng.choice(SYSTEM)}]
    for _ in range(rng.choice([1, 1, 2, 3])):
        messages.append({"role": "user", "content": question(rng, language)})
        messages.append({"role": "assistant", "content": answer(rng, language)})
    spent = rng.randrange(50, 2000)
    usage = {
        "prompt_tokens": spent,
        "completion_tokens": spent // 3,
        "total_tokens": spent + spent // 3,
    }
    output = {
        "id": f"chatcmpl-{rng.getrandbits(64):x}",
        "object": "chat.completion",
        "model": rng.choice(MODELS),
        "choices": [{"index": 0, "message": messages[-1], "finish_reason": "stop"}],
        "usage": usage,
    }
    request = {
        "model": rng.choice(MODELS),
        "messages": messages[:-1],
        "temperature": 0.7,
        "max_tokens": 1024,
        "stream": False,
    }
    return [request, output, None, None]


def tool_call(rng: random.Random, language: str) -> list:
    arguments = {
        "query": question(rng, language),
        "limit": rng.randrange(1, 50),
        "language": language,
        "date": "2025-06-30",
    }
    call = {
        "id": f"call_{rng.getrandbits(48):x}",
        "type": "function",
        "function": {"name": "search", "arguments": json.dumps(arguments)},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [
        question(rng, language),
        message,
        {"session": token(rng, "session"), "user": token(rng, "email")},
        {"tool": "search"},
    ]


def incident(rng: random.Random, language: str) -> list:
    facts = {
        "incident_id": f"INC{rng.randrange(10**6):07d}",
        "severity": rng.choice(["low", "medium", "high", "critical"]),
        "status": rng.choice(["open", "resolved", "investigating"]),
        "service": rng.choice(["checkout", "payments", "search", "login"]),
        "description": f"{sentence(rng, ANSWERS, language)} Reported by {token(rng, 'email')} from {token(rng, 'ipv4')}.",
        "created_at": "2025-06-30T12:00:00Z",
        "assigned_to": token(rng, "email"),
        "short_description": sentence(rng, OPENERS, language),
    }
    analysis = {
        "summary": answer(rng, language),
        "root_cause": sentence(rng, ANSWERS, language),
        "confidence": round(rng.random(), 2),
        "recommendations": [sentence(rng, ANSWERS, language) for _ in range(3)],
        "affected_services": ["checkout", "payments"],
        "evidence": rng.choice(CODE),
        "next_steps": [sentence(rng, ANSWERS, language)],
    }
    return [facts, analysis, {"attempt": 1, "timeout": 30, "environment": "production"}, None]


def turn(rng: random.Random, language: str) -> list:
    return [question(rng, language), answer(rng, language), None, None]


def message(rng: random.Random, language: str) -> list:
    return [
        question(rng, language) if rng.random() < 0.5 else answer(rng, language),
        None,
        None,
        None,
    ]


SHAPES = (
    [plain] * 26 + [turn] * 5 + [message] * 3 + [conversation] * 2 + [tool_call, incident, incident]
)


def samples(count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    return [
        msgspec.msgpack.encode(rng.choice(SHAPES)(rng, rng.choice(LANGUAGES))) for _ in range(count)
    ]


def train() -> None:
    dictionary = zstandard.train_dictionary(
        SIZE, samples(SAMPLES, SEED), level=3, split_point=0.75, steps=8
    )
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "1.zdict").write_bytes(dictionary.as_bytes())
    print(f"{len(dictionary)} bytes in {FOLDER / '1.zdict'}")


def report(name: str, texts: list[bytes]) -> None:
    dictionary = zstandard.ZstdCompressionDict((FOLDER / "1.zdict").read_bytes())
    dictionary.precompute_compress(level=3)
    with_it = zstandard.ZstdCompressor(dict_data=dictionary, write_dict_id=False)
    without = zstandard.ZstdCompressor(level=3)
    plain = sum(map(len, texts))
    started = time.perf_counter()
    packed = sum(len(with_it.compress(text)) for text in texts)
    micros = (time.perf_counter() - started) / len(texts) * 1e6
    alone = sum(len(without.compress(text)) for text in texts)
    mean = plain // len(texts)
    print(
        f"{name:28} {len(texts):6} of {mean:5} B   zstd {alone / plain:5.2f}   with dictionary {packed / plain:5.2f}   {micros:4.1f} us"
    )


def measure(path: str | None) -> None:
    made = samples(4000, SEED + 1)
    for low, high in ((0, 350), (600, 1500), (1500, 6000)):
        report(f"made up, {low}-{high} B", [text for text in made if low <= len(text) < high])
    if path is None:
        return
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        dialogues = [[turn["text"] for turn in json.loads(line)["turns"]] for line in lines]
    for size in (100, 200, 1024, 4096):
        texts = []
        for number in range(len(dialogues)):
            joined = " ".join(
                dialogues[number] + dialogues[(number + 7) % len(dialogues)] * (size // 1024)
            )
            texts.append(
                msgspec.msgpack.encode([joined[: size // 2], joined[size // 2 : size], None, None])
            )
        report(f"real dialogues, {size} B", texts)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train()
    else:
        measure(sys.argv[2] if len(sys.argv) > 2 else None)
