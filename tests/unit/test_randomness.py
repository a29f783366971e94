from __future__ import annotations

import os
import subprocess
import sys
import threading

from analect.privacy.randomness import SIZE, BufferedRandom


def test_no_byte_is_given_twice() -> None:
    given = bytearray()

    def source(count: int) -> bytes:
        made = os.urandom(count)
        given.extend(made)
        return made

    random_bytes = BufferedRandom(source)
    taken = [random_bytes(count) for count in (10, 12, 8, 32) * 200]
    place = 0
    for piece in taken:
        place = given.index(piece, place) + len(piece)
    assert len(set(taken)) == len(taken)


def test_many_bytes_come_straight_from_the_source() -> None:
    random_bytes = BufferedRandom(os.urandom)
    assert len(random_bytes(SIZE + 1)) == SIZE + 1
    assert len(random_bytes(SIZE)) == SIZE


def test_threads_share_nothing() -> None:
    random_bytes = BufferedRandom(os.urandom)
    taken: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: taken.extend(random_bytes(8) for _ in range(1000)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 4000


FORK = """
import os
from analect.privacy.randomness import BufferedRandom
random_bytes = BufferedRandom(os.urandom)
random_bytes(16)
out, into = os.pipe()
if not os.fork():
    os.write(into, random_bytes(16))
    os._exit(0)
os.wait()
print(os.read(out, 16) != random_bytes(16))
"""


def test_a_forked_child_fetches_its_own() -> None:
    asked = subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True, text=True)
    assert asked.stdout == "True\n"
