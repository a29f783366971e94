"""What pseudonymising costs a record: nothing to find, something in a tenth, something in all.

    python benchmarks/pseudonymise.py [--profile]

Batches of 100 records of about 1 KB (a question, an answer, variables, three tags). Prints
microseconds a record. What was found when it was tuned stands at the end of the file.
"""

from __future__ import annotations

import cProfile
import random
import sys
import time
from copy import deepcopy

from analect.model.record import Draft
from analect.privacy.pseudonymise import Pseudonymiser

TEXT = (
    "the service answered slowly after release while several users reported that their orders"
    " were missing from the list and the cache showed stale entries for region north until the"
    " worker restarted at noon with a larger heap and fewer threads per node"
)
WORDS = TEXT.split()
FACTS = (
    "on 2024-05-17 10:22:31",
    "order 4839201",
    "in 3.11.7",
    "took 183.25 ms",
    "build 20240517.3",
)
PERSONAL = (
    "mail anna.schmidt@example.org",
    "call +44 20 7946 0958",
    "from 192.168.17.4",
    "card 4111 1111 1111 1111",
)


def sentence(rng: random.Random, words: int) -> str:
    body = " ".join(rng.choice(WORDS) for _ in range(words))
    return f"{body} {rng.choice(FACTS)}."


def draft(rng: random.Random, personal: bool) -> Draft:
    question = " ".join(sentence(rng, 18) for _ in range(3))
    answer = " ".join(sentence(rng, 18) for _ in range(3))
    if personal:
        answer += " " + rng.choice(PERSONAL)
    return Draft(
        thread_id=f"thread-{rng.getrandbits(40):x}",
        session_id=f"session-{rng.getrandbits(40):x}",
        trace_id=f"{rng.getrandbits(128):032x}",
        service="support",
        name="answer question",
        model="gpt-4o-2024-08-06",
        tags=["billing", "emea", "tier-2"],
        dimensions={"user_role": "agent", "language": "en"},
        measures={"response_length": 512.0},
        input=question,
        output=answer,
        variables={"ticket": f"T-{rng.getrandbits(20)}", "attempt": 2, "flags": ["a", "b"]},
        attributes={"source": "web", "latency": 12.5},
    )


def measure(share: float, batches: int = 60, profile: bool = False) -> float:
    rng = random.Random(7)
    pseudonymiser = Pseudonymiser(b"k" * 32, detectors=[])
    made = [[draft(rng, i % 100 < share * 100) for i in range(100)] for _ in range(batches)]
    pseudonymiser.drafts(deepcopy(made[0]))
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    start = time.perf_counter()
    for batch in made:
        pseudonymiser.drafts(batch)
    spent = time.perf_counter() - start
    if profile:
        profiler.disable()
        profiler.print_stats("tottime")
    return spent / batches / 100 * 1e6


if __name__ == "__main__":
    for label, share in (("nothing to find", 0.0), ("in a tenth", 0.1), ("in all", 1.0)):
        print(f"{label:20s} {measure(share, profile='--profile' in sys.argv):8.1f} µs a record")

# Found on 2 shared cores (Python 3.11, RE2 2025-11-05), microseconds a record of 0.95 KB, with
# other work on the machine:
#   nothing to find 11.4 | in a tenth 15.8 | in all 44.8
# Of the 11.4: gathering and joining the texts 4.2, the set of triggers 2.7, two identifiers 3.
# - The set was 196 µs with the rules' own patterns as triggers: bounded repeats that may begin at
#   every byte ({23,27}, a word of hex) multiply the states of the automaton until its memory is
#   full. With triggers that begin at a literal or at a word's edge it costs what one pattern costs.
# - A finding was 167 µs with the context looked up by Python's `re` around every number; with the
#   context as part of one RE2 pattern it is 22.
# - Input made to be slow (1 MB of "api_key=", of "1.2.3.", of "415-555-267 ") takes 1 to 4 s/MB;
#   most takes under 0.01. A match that fails is never retried byte by byte.
