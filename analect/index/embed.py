"""Texts to vectors with WordLlama: static token embeddings, averaged. Small, quick, offline.

The weights and the tokenizer are read from the files of the installed ``wordllama`` package; the
package itself is not imported, for that configures the root logger and takes ten times as long.
Its vectors and these agree (a test compares them).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from analect.model.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from analect.index.protocols import Vector

DIMENSION = 256
MAX_CHARACTERS = 2048
"""Of a longer text only the beginning is looked at."""
MAX_TOKENS = 1024
"""So that a text of rare characters, several tokens each, costs no more than others."""

_WEIGHTS = Path("weights", f"l2_supercat_{DIMENSION}.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_BATCH = 64
"""Texts tokenized at once: larger batches are no quicker and hold more memory."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """``tokens``: shape (vocabulary, DIMENSION)."""

    tokenizer: Tokenizer
    tokens: Vector


class WordLlamaEmbedder:
    """An :class:`~analect.index.protocols.Embedder`; about 65 MB once the first text has come.

    Measured on one core: 5,600 dialogues of 780 characters a second; tokenizing, which releases
    the interpreter's lock, is the larger part.

    Raises:
        ConfigurationError: the extra ``embeddings`` is not installed.
    """

    model = f"wordllama-l2-supercat-{DIMENSION}/1"
    dimension = DIMENSION
    problem = None

    def __init__(self) -> None:
        spec = find_spec("wordllama")
        if spec is None or spec.origin is None or find_spec("tokenizers") is None:
            raise ConfigurationError(
                "search by meaning needs the extra `embeddings`: "
                "pip install 'analect[embeddings]', or switch index.vectors off",
                field="embeddings.model",
            )
        self._folder = Path(spec.origin).parent
        self._lock = Lock()
        self._loaded: _Loaded | None = None

    def embed(self, texts: Sequence[str]) -> Vector:
        """Shape (len(texts), 256), float32; rows of length one, zero where a text is blank.

        Only the first :data:`MAX_CHARACTERS` of a text count.

        Raises:
            ConfigurationError: the installed ``wordllama`` has not the files of this model.
        """
        model = self._loaded or self._load()
        rows = np.zeros((len(texts), DIMENSION), np.float32)
        cut = [text[:MAX_CHARACTERS].strip() for text in texts]
        for start in range(0, len(cut), _BATCH):
            batch = cut[start : start + _BATCH]
            encodings = model.tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            for row, text, encoding in zip(rows[start:], batch, encodings, strict=False):
                if text and encoding.ids:
                    _pool(model.tokens, encoding.ids[:MAX_TOKENS], row)
        return rows

    def close(self) -> None:
        """Nothing is held open."""

    def _load(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _read(self._folder)
            return self._loaded


def _pool(tokens: Vector, ids: Sequence[int], row: Vector) -> None:
    """The mean of the tokens' vectors, at length one, into ``row``."""
    # A product with ones adds the rows up in BLAS, twice as quick as numpy's own sum.
    np.matmul(np.ones(len(ids), np.float32), tokens.take(ids, axis=0, mode="clip"), out=row)
    length = float(np.linalg.norm(row))
    if length > 0.0:
        row /= length


@cache
def _read(folder: Path) -> _Loaded:
    """Once a process, whoever asks: 32 MB that nobody changes."""
    # One thread of the caller's is enough, and a pool of threads does not survive a fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from safetensors import safe_open
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        with safe_open(str(folder / _WEIGHTS), framework="np") as weights:
            tokens = weights.get_tensor("embedding.weight").astype(np.float32)
    except Exception as error:  # the tokenizer raises bare exceptions
        raise ConfigurationError(
            "the installed wordllama has not the files of its model l2_supercat: "
            "pip install --force-reinstall 'analect[embeddings]'",
            field="embeddings.model",
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return _Loaded(tokenizer, np.ascontiguousarray(tokens))
