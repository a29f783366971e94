"""Packed bodies: whole, cut, broken, and bombs."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from analect.model.errors import InvalidQuery, TooLarge
from analect_ingest.unpack import UnsupportedMedia, unpacker

PACKERS = {"gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("name", PACKERS)
@given(data=st.binary(max_size=5000), more=st.binary(max_size=300))
def test_what_was_packed_comes_out(name, data, more):
    pack, unpack = PACKERS[name], unpacker(name)
    assert unpack(pack(data), len(data)) == data
    assert unpack(pack(data) + pack(more), 10_000) == data + more


@pytest.mark.parametrize("name", PACKERS)
def test_what_was_cut_or_broken_is_refused(name):
    packed = PACKERS[name](bytes(range(256)) * 40)
    for wrong in (packed[:-1], packed[:9], packed[:1], packed + b"x", b"nonsense"):
        with pytest.raises(InvalidQuery):
            unpacker(name)(wrong, 100_000)


@pytest.mark.parametrize("name", PACKERS)
def test_a_bomb_is_stopped_while_it_goes_off(name):
    packed = PACKERS[name](bytes(300_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpacker(name)(packed, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_a_window_that_takes_much_memory_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packed.compress(bytes(1000)) + packed.flush()
    with pytest.raises(InvalidQuery):
        unpacker("zstd")(data, 10_000)


def test_encodings():
    assert unpacker(None) is None
    assert unpacker("identity") is None
    assert unpacker(" GZIP ") is not None
    for unknown in ("br", "deflate", "gzip, gzip"):
        with pytest.raises(UnsupportedMedia):
            unpacker(unknown)
