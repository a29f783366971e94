"""Asking what may hang, for no longer than whoever asks has time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Patience(Generic[T]):
    """Thread-safe. A question that is under way is not asked a second time: what hangs holds one
    thread, however often it is asked.
    """

    def __init__(self, seconds: float) -> None:
        """``seconds``: to wait for answers, all questions together."""
        self.seconds = seconds
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[T]] = {}

    def ask(self, questions: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """The answers, by name; without those that are not there in time.

        Raises:
            Exception: what a question raised.
        """
        futures = {name: self._asked(name, question) for name, question in questions.items()}
        wait(futures.values(), timeout=self.seconds)
        return {name: future.result() for name, future in futures.items() if future.done()}

    def _asked(self, name: str, question: Callable[[], T]) -> Future[T]:
        with self._lock:
            found = self._under_way.get(name)
            if found is None:
                found = self._under_way[name] = Future()
                thread = threading.Thread(
                    target=self._answer, args=(name, question, found), daemon=True
                )
                thread.start()
            return found

    def _answer(self, name: str, question: Callable[[], T], future: Future[T]) -> None:
        try:
            answer = question()
        except BaseException as error:
            self._over(name)
            future.set_exception(error)
        else:
            self._over(name)
            future.set_result(answer)

    def _over(self, name: str) -> None:
        """Before anyone has the answer: whoever asks from then on is not told it again."""
        with self._lock:
            del self._under_way[name]
