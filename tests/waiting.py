"""How often to look whether something has come true."""

from __future__ import annotations

import time
from collections.abc import Iterator

SHORTEST = 0.02
LONGEST = 0.1


def pauses() -> Iterator[float]:
    """Seconds until the next look: a tenth of what it has taken so far. A look costs processors
    that what is waited for needs: who asks for a status all the time waits longer for it.
    """
    begun = time.monotonic()
    while True:
        yield min(max(SHORTEST, (time.monotonic() - begun) / 10), LONGEST)
