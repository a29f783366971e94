"""The second level: a Redis or Valkey that all processes share, and that may be away.

While it is, it is left alone for some seconds at a time, and every process keeps what it computes
in its memory.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Hashable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog

from analect.model.errors import ConfigurationError
from analect.settings import Queue

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)

T = TypeVar("T")

REST_SECONDS = 5.0
HEARD_SECONDS = 2.0
"""How long the version of a tag is believed: so much later other processes hear of a change."""
LOCK_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_TAG_SECONDS = 7 * 86_400
_PATIENCE_SECONDS = 1.0
_FIRST = "0"


class SharedLevel:
    """Values that JSON can hold, below ``prefix``; any other stays in memory alone."""

    def __init__(
        self,
        connection: Redis,
        prefix: str,
        *,
        timer: Callable[[], float] = monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._timer = timer
        self._pause = pause
        self._away_until = 0.0

    def get(self, key: Hashable) -> tuple[Any, float] | None:
        """A value and the seconds it has left. One process computes what is not there, for so
        long the others wait; not longer than ten seconds.
        """
        place = self._place(key)
        until = self._timer() + LOCK_SECONDS
        while (found := self._asked(lambda: self._look(place), None)) is None:
            if self._asked(lambda: self._lock(place), otherwise=True):
                # Another process may have computed it between the look and the lock.
                found = self._asked(lambda: self._look(place), None)
                if found is not None:
                    self.release(key)
                return found
            if self._timer() >= until:
                return None
            self._pause(_LOOK_SECONDS)
        return found

    def put(self, key: Hashable, value: Any, seconds: float) -> None:
        """Keep a value, and let those go on who wait for it."""
        place = self._place(key)
        try:
            raw = msgspec.json.encode(value)
            same = msgspec.json.decode(raw) == value
        except (TypeError, ValueError, msgspec.MsgspecError):
            same = False
        if not same:  # a tuple or an object would come back as something else
            self.release(key)
            return

        def keep() -> None:
            with self._connection.pipeline() as pipeline:
                pipeline.set(place, raw, px=max(1, int(seconds * 1000)))
                pipeline.delete(f"{place}:lock")
                pipeline.execute()

        self._asked(keep, None)

    def release(self, key: Hashable) -> None:
        """Nothing came of it: let those go on who wait."""
        self._asked(lambda: self._connection.delete(f"{self._place(key)}:lock"), None)

    def versions(self, tags: Sequence[str]) -> dict[str, str]:
        """What stands for the last change of each tag; none where nobody answers."""
        if not tags:
            return {}
        names = [self._tag(tag) for tag in tags]
        found: list[Any] | None = self._asked(lambda: self._connection.mget(names), None)
        if found is None:
            return {}
        return {
            tag: _FIRST if raw is None else raw.decode()
            for tag, raw in zip(tags, found, strict=True)
        }

    def change(self, tags: Sequence[str], version: str) -> None:
        """Let every process hear that what these tags stand for has changed."""

        def tell() -> None:
            with self._connection.pipeline() as pipeline:
                for tag in tags:
                    pipeline.set(self._tag(tag), version, ex=_TAG_SECONDS)
                pipeline.execute()

        self._asked(tell, None)

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    def _lock(self, place: str) -> bool:
        life = int(LOCK_SECONDS * 1000)
        return bool(self._connection.set(f"{place}:lock", "1", nx=True, px=life))

    def _look(self, place: str) -> tuple[Any, float] | None:
        with self._connection.pipeline() as pipeline:
            pipeline.get(place)
            pipeline.pttl(place)
            raw, left = pipeline.execute()
        return None if raw is None or left <= 0 else (msgspec.json.decode(raw), left / 1000)

    def _asked(self, question: Callable[[], T], otherwise: T) -> T:
        from redis.exceptions import RedisError

        if self._timer() < self._away_until:
            return otherwise
        try:
            return question()
        except RedisError as error:
            log.warning("cache in memory only", error=type(error).__name__)
            self._away_until = self._timer() + REST_SECONDS
            return otherwise

    def _place(self, key: Hashable) -> str:
        return f"{self._prefix}:{_digest(_written(key))}"

    def _tag(self, tag: str) -> str:
        return f"{self._prefix}:tag:{_digest(tag)}"


def open_shared(url: str, queue: Queue, *, setting: str = "cache.url") -> SharedLevel:
    """The level at ``url``, which ``setting`` says, below the prefix of the queue; nothing is asked
    of it yet.

    Raises:
        ConfigurationError: the address is wrong, or the client is not installed.
    """
    try:
        from redis import Redis

        extra = {} if queue.ca_file is None else {"ssl_ca_certs": str(queue.ca_file)}
        connection = Redis.from_url(
            url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS, **extra
        )
    except ValueError as error:
        raise ConfigurationError(
            f"{setting} (ANALECT_{setting.upper().replace('.', '__')}) must look like "
            "redis://host:6379/0 or rediss://host:6379/0",
            field=setting,
        ) from error
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "a shared cache needs the redis client: pip install 'analect[engines]'",
            field="cache.url",
        ) from error
    return SharedLevel(connection, f"{queue.prefix}-cache")


def _written(key: Hashable) -> str:
    """The same in every process: sets have an order of their own in each."""
    if isinstance(key, tuple):
        return f"({','.join(map(_written, key))})"
    if isinstance(key, frozenset):
        return f"{{{','.join(sorted(map(_written, key)))}}}"
    return repr(key)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
