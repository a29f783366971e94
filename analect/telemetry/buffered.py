"""A text stream that writes many lines at once, soon."""

from __future__ import annotations

import threading
from typing import TextIO

SOON_SECONDS = 0.2
MOST_CHARACTERS = 64 * 1024


class BufferedLines:
    """Holds lines back for a fifth of a second at most.

    A write to a pipe or terminal lets go of the interpreter's lock, and at a thousand requests a
    second getting it back was measured as the greater part of what an access log costs. A crash
    may take the last fifth of a second of the log with it; leaving the program does not.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._size = 0
        self._waiting = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="analect-log", daemon=True)
        self._thread.start()

    def isatty(self) -> bool:
        """Whether people look on."""
        return self._stream.isatty()

    def write(self, text: str) -> int:
        """Take ``text``; it is written soon."""
        with self._lock:
            self._lines.append(text)
            self._size += len(text)
            full = self._size >= MOST_CHARACTERS
        if full or self._closing.is_set():
            self.write_out()
        elif not self._waiting.is_set():
            self._waiting.set()
        return len(text)

    def flush(self) -> None:
        """Nothing: loggers call it after every line."""

    def write_out(self) -> None:
        """Write what is held, now."""
        with self._lock:
            text = "".join(self._lines)
            self._lines.clear()
            self._size = 0
            if text:
                self._stream.write(text)
                self._stream.flush()

    def close(self) -> None:
        """Write what is held and end; later lines are written as they come."""
        self._closing.set()
        self._waiting.set()
        self._thread.join(2.0)
        self.write_out()

    def _loop(self) -> None:
        while not self._closing.is_set():
            self._waiting.wait()
            self._closing.wait(SOON_SECONDS)
            self._waiting.clear()
            self.write_out()
