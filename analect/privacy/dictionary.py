"""Compression dictionaries of sealed payloads, by the number that every sealed blob carries.

A dictionary that was shipped stays as it is for ever, for blobs name it. A better one is added
under the next number; ``benchmarks/train_dictionary.py`` trains and measures it.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

import zstandard

from analect.model.errors import Corrupt

PRESENT = 1
"""The dictionary of new blobs. 0 means none."""
LEVEL = 3
_FOLDER = Path(__file__).parent / "dictionaries"


class Packer:
    """Compresses and decompresses with the shipped dictionaries. Thread-safe.

    Frames have neither magic number nor dictionary id (the blob's header says both), only their
    content size, by which unpacking is bounded before it begins.
    """

    def __init__(self, most: int) -> None:
        """``most``: bytes that unpacking may make."""
        self._most = most
        self._local = threading.local()

    def pack(self, plain: bytes) -> bytes:
        """Compress with the dictionary :data:`PRESENT`."""
        try:
            compressor: zstandard.ZstdCompressor = self._local.compressor
        except AttributeError:
            compressor = self._local.compressor = _compressor()
        return compressor.compress(plain)

    def unpack(self, packed: bytes, dictionary: int) -> bytes:
        """Decompress.

        Raises:
            Corrupt: it is no frame, too big, or of a dictionary that this release does not have.
        """
        try:
            frame = zstandard.get_frame_parameters(packed, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
            if frame.content_size > self._most:
                raise Corrupt("a sealed payload unpacks to more than any payload may have")
            return self._decompressor(dictionary).decompress(packed, max_output_size=0)
        except zstandard.ZstdError as error:
            raise Corrupt("a sealed payload does not unpack") from error

    def _decompressor(self, dictionary: int) -> zstandard.ZstdDecompressor:
        try:
            made: dict[int, zstandard.ZstdDecompressor] = self._local.decompressors
        except AttributeError:
            made = self._local.decompressors = {}
        if dictionary not in made:
            made[dictionary] = zstandard.ZstdDecompressor(
                dict_data=_dictionary(dictionary), format=zstandard.FORMAT_ZSTD1_MAGICLESS
            )
        return made[dictionary]


def _compressor() -> zstandard.ZstdCompressor:
    dictionary = _dictionary(PRESENT)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        dict_size=len(dictionary),
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=True,
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)


@cache
def _dictionary(number: int) -> zstandard.ZstdCompressionDict:
    path = _FOLDER / f"{number}.zdict"
    try:
        dictionary = zstandard.ZstdCompressionDict(path.read_bytes())
    except FileNotFoundError as error:
        raise Corrupt(
            f"a payload was sealed with dictionary {number}, which this release does not have: "
            "it was written by a newer release, or is damaged"
        ) from error
    dictionary.precompute_compress(level=LEVEL)
    return dictionary
