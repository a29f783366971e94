import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from analect.index import embed
from analect.index.embed import MAX_CHARACTERS, WordLlamaEmbedder
from analect.model.errors import ConfigurationError

TEXTS = [
    "The database is out of disk space",
    "No room is left on the volume of the server",
    "A recipe for apple pie with cinnamon",
    "数据库没有空间了",
    "قاعدة البيانات ممتلئة",
    "emoji \U0001f600 and a token <email:0123456789abcdef>",
]


@pytest.fixture(scope="module")
def embedder():
    return WordLlamaEmbedder()


def test_rows_have_length_one_and_the_right_shape(embedder):
    rows = embedder.embed(TEXTS)
    assert rows.shape == (len(TEXTS), embedder.dimension)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


def test_blank_texts_are_zero_and_no_texts_are_no_rows(embedder):
    rows = embedder.embed(["", " \n\t", "word"])
    assert not rows[:2].any()
    assert rows[2].any()
    assert embedder.embed([]).shape == (0, embedder.dimension)


def test_meaning_counts(embedder):
    full, volume, pie = embedder.embed(TEXTS[:3])
    assert full @ volume > full @ pie + 0.1


def test_a_text_has_one_vector_whatever_stands_beside_it(embedder):
    alone = np.vstack([embedder.embed([text]) for text in TEXTS])
    assert np.allclose(alone, embedder.embed(TEXTS * 30)[-len(TEXTS) :], atol=1e-6)


def test_only_the_beginning_of_a_long_text_counts(embedder):
    head = "word " * MAX_CHARACTERS
    long, longer = embedder.embed([head, head + "entirely different end"])
    assert np.array_equal(long, longer)
    assert np.allclose(np.linalg.norm(embedder.embed(["語" * 1_000_000])), 1.0)


def test_threads_may_share_it(embedder):
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: embedder.embed(TEXTS), range(16)):
            assert np.allclose(rows, embedder.embed(TEXTS), atol=1e-6)


def test_it_agrees_with_the_library():
    # In a process of its own, for the library configures the root logger when imported.
    program = f"""
import numpy as np, wordllama
from pathlib import Path
from analect.index.embed import WordLlamaEmbedder
theirs = wordllama.WordLlama.load(
    cache_dir=Path(wordllama.__file__).parent, disable_download=True
).embed({TEXTS!r}, norm=True)
assert np.allclose(theirs, WordLlamaEmbedder().embed({TEXTS!r}), atol=1e-4)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setattr(embed, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match="embeddings"):
        WordLlamaEmbedder()


def test_missing_files_are_a_configuration_error(tmp_path, embedder, monkeypatch):
    fresh = WordLlamaEmbedder()
    monkeypatch.setattr(fresh, "_folder", tmp_path)
    with pytest.raises(ConfigurationError, match="wordllama"):
        fresh.embed(["word"])
