"""Something said again and again, by a thread, for as long as something else goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from analect.model.errors import AnalectError

log = structlog.get_logger(__name__)


@contextmanager
def beating(beat: Callable[[], object], seconds: float, what: str) -> Iterator[None]:
    """Within the block, a thread calls ``beat`` every so many seconds. Its errors are logged, with
    ``what`` it is that goes on, and no one's: whoever is at work in the block meets them itself.
    """
    over = threading.Event()

    def beats() -> None:
        while not over.wait(seconds):
            try:
                beat()
            except AnalectError as error:
                log.warning("cannot show that it goes on", what=what, code=error.code)

    thread = threading.Thread(target=beats, name=f"analect-{what}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
