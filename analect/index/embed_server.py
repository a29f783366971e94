"""Vectors from a server that speaks OpenAI's ``/v1/embeddings``.

It is sent what an index sees: text in which personal data are tokens already, cut to its beginning.
Vectors are kept in memory by a hash of model and text, so that what is embedded again (a retry, a
question asked twice, the same answer given to many) costs nothing. They are kept nowhere else: a
vector says much of its text, and no file may hold that of someone who was erased.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import stamina

from analect.index.trust import authority, untrusted
from analect.model.errors import (
    ConfigurationError,
    EngineMisconfigured,
    EngineUnavailable,
    TerminalError,
    TooLarge,
)
from analect.settings import Embeddings
from analect.telemetry.embedding import EmbeddingMetrics

if TYPE_CHECKING:
    from analect.index.protocols import Vector

_ATTEMPTS = 5
_LONGEST_WAIT = 30.0
_REFUSED = {400, 413, 422}
"""What is wrong with these texts, or with the model that is asked for."""
_HARMLESS = "word"


class ServerEmbedder:
    """An :class:`~analect.index.protocols.Embedder`. Nothing is asked before the first text.
    Thread-safe.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """

    def __init__(
        self,
        settings: Embeddings,
        metrics: EmbeddingMetrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if settings.url is None or settings.dimension is None:
            raise ConfigurationError(
                "embeddings.dimension (ANALECT_EMBEDDINGS__DIMENSION) must say how long the "
                "model's vectors are",
                field="embeddings.dimension",
            )
        self.model = settings.model
        self.dimension = settings.dimension
        self.problem: str | None = None
        self._settings = settings
        self._metrics = metrics
        self._url = f"{settings.url.rstrip('/')}/embeddings"
        self._client = _client(settings)
        self._pace = _Pace(settings.requests_per_second, monotonic, sleep)
        self._cache = _Cache(settings.cache_mib * 2**20 // (4 * self.dimension))

    def embed(self, texts: Sequence[str]) -> Vector:
        """Shape (len(texts), dimension), float32; rows of length one, zero where a text is blank.

        Only the first ``embeddings.max_characters`` of a text count.

        Raises:
            EngineUnavailable: the server does not answer, refuses the key or any text at all, or
                has other vectors.
            TerminalError: it refuses these texts, and no others.
        """
        cut = [text[: self._settings.max_characters].strip() for text in texts]
        keys = [self._key(text) for text in cut]
        known = self._cache.get(keys)
        asked = {key: text for key, text in zip(keys, cut, strict=True) if text}
        asked = {key: text for key, text in asked.items() if key not in known}
        self._metrics.looked_up(len(keys), len(asked))
        size = self._settings.batch_size
        missing = list(asked)
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            fresh = dict(zip(part, self._ask([asked[key] for key in part]), strict=True))
            self._cache.put(fresh)
            known |= fresh
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, key in zip(rows, keys, strict=True):
            if key in known:
                row[:] = known[key]
        return rows

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, texts: Sequence[str]) -> Vector:
        """Of a server that refuses these texts it is seen whether it takes any: for a wrong model
        most give the same answer, and no record is to blame for that.
        """
        try:
            try:
                rows = self._asked(texts)
            except TerminalError as refused:
                self._take_any(refused)
                raise
        except EngineUnavailable as error:
            self.problem = str(error)
            raise
        except TerminalError:
            self.problem = None
            raise
        self.problem = None
        return rows

    def _take_any(self, refused: TerminalError) -> None:
        try:
            self._asked([_HARMLESS])
        except TerminalError:
            raise EngineMisconfigured(
                "the embeddings' server refuses every text: see that it knows embeddings.model "
                "(ANALECT_EMBEDDINGS__MODEL) and that embeddings.url (ANALECT_EMBEDDINGS__URL) is "
                "right",
                field="embeddings.model",
            ) from refused

    def _asked(self, texts: Sequence[str]) -> Vector:
        for attempt in stamina.retry_context(
            on=_when_again, attempts=_ATTEMPTS, timeout=self._settings.timeout_seconds
        ):
            with attempt:
                return self._once(texts)
        raise AssertionError  # the last attempt returns or raises

    def _once(self, texts: Sequence[str]) -> Vector:
        self._pace.wait()
        body = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        started = time.perf_counter()
        outcome = "failed"
        try:
            response = self._client.post(self._url, json=body)
            if not response.is_success:
                raise _error_of(response)
            answer = response.json()
            rows = self._rows(answer, len(texts))
            outcome = "ok"
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            if untrusted(error):
                raise EngineUnavailable(
                    "the embeddings' server shows a certificate that is not trusted: name its "
                    "authority in embeddings.ca_file (ANALECT_EMBEDDINGS__CA_FILE)"
                ) from None  # without a cause it is not asked again
            raise EngineUnavailable(
                "the embeddings' server does not answer as one; see that embeddings.url "
                "(ANALECT_EMBEDDINGS__URL) is right and that it runs"
            ) from error
        finally:
            self._metrics.asked(outcome, time.perf_counter() - started)
        tokens = _tokens(answer)
        self._metrics.used(tokens, tokens * self._settings.price_per_million_tokens / 1_000_000)
        return rows

    def _rows(self, answer: dict[str, Any], count: int) -> Vector:
        """In the order asked for, of length one."""
        data = sorted(answer["data"], key=lambda item: int(item["index"]))
        rows = np.array([item["embedding"] for item in data], np.float32)
        if rows.shape != (count, self.dimension) or not np.isfinite(rows).all():
            found = rows.shape[1] if rows.ndim == 2 else "no"
            raise EngineMisconfigured(
                f"{count} vectors of {self.dimension} numbers were asked for and {len(rows)} of "
                f"{found} came: set embeddings.dimension to what the model has, then "
                "`analect rebuild vectors`",
                field="embeddings.dimension",
            )
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        scaled: Vector = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
        return scaled

    def _key(self, text: str) -> bytes:
        message = f"{self.model}\0{text}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(message, digest_size=16).digest()


class _Cache:
    """The vectors used last. Holds no text."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._rows: OrderedDict[bytes, Vector] = OrderedDict()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """Those that are there."""
        with self._lock:
            found = {key: self._rows[key] for key in keys if key in self._rows}
            for key in found:
                self._rows.move_to_end(key)
            return found

    def put(self, rows: dict[bytes, Vector]) -> None:
        """Those not used for the longest time go."""
        with self._lock:
            self._rows.update((key, row.copy()) for key, row in rows.items())
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)


class _Pace:
    """So many requests a second, of all threads together."""

    def __init__(
        self,
        rate: float | None,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._pause = 0.0 if rate is None else 1.0 / rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Until the next request may go."""
        if not self._pause:
            return
        with self._lock:
            now = self._monotonic()
            turn = max(now, self._next)
            self._next = turn + self._pause
        if turn > now:
            self._sleep(turn - now)


def _client(settings: Embeddings) -> httpx.Client:
    key = settings.key()
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    verify: ssl.SSLContext | bool = True
    if settings.ca_file is not None:
        verify = authority(settings.ca_file, "embeddings.ca_file")
    return httpx.Client(headers=headers, timeout=settings.timeout_seconds, verify=verify)


def _error_of(response: httpx.Response) -> EngineUnavailable | TerminalError:
    """What the server says may quote the texts and is left out."""
    status = response.status_code
    if status in {401, 403}:
        return EngineMisconfigured(
            "the embeddings' server refuses embeddings.api_key (ANALECT_EMBEDDINGS__API_KEY)",
            field="embeddings.api_key",
        )
    if status == 413:
        return TooLarge("the embeddings' server takes no texts of this size")
    if status in _REFUSED:
        return TerminalError(f"the embeddings' server refuses these texts (status {status})")
    if status == 404:
        return EngineMisconfigured(
            "the embeddings' server knows no such model or address: see embeddings.url "
            "(ANALECT_EMBEDDINGS__URL) and embeddings.model (ANALECT_EMBEDDINGS__MODEL)",
            field="embeddings.model",
        )
    return _Busy(
        f"the embeddings' server cannot answer now (status {status})",
        retry_after=_retry_after(response),
    )


class _Busy(EngineUnavailable):
    """Worth asking again soon."""


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, where the server says some (dates are not looked at)."""
    said = response.headers.get("Retry-After", "")
    try:
        return min(max(float(said), 0.0), _LONGEST_WAIT)
    except ValueError:
        return None


def _when_again(error: Exception) -> bool | float:
    """For stamina: whether to ask again, and when, if the server said so."""
    if isinstance(error, EngineUnavailable) and isinstance(error.__cause__, httpx.TransportError):
        return True
    if not isinstance(error, _Busy):
        return False
    return True if error.retry_after is None else error.retry_after


def _tokens(answer: dict[str, Any]) -> int:
    usage = answer.get("usage") or {}
    found = usage.get("total_tokens") or usage.get("prompt_tokens") or 0
    return found if isinstance(found, int) and found > 0 else 0
