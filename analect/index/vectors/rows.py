"""A file of rows of one width, addressed by number: no header, no lengths, nothing to parse."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from analect.model.errors import Corrupt


class RowFile:
    """Row ``n`` is ``width`` values of ``dtype`` at byte ``n * width * itemsize``.

    Which rows mean anything is known elsewhere (see :mod:`analect.index.vectors.file`). Reading
    and writing name their place, so any thread or process may do either.

    Raises (from every method):
        OSError: what the file system says.
    """

    def __init__(self, path: Path, width: int, dtype: DTypeLike, *, create: bool) -> None:
        self._dtype = np.dtype(dtype)
        self._width = width
        self._size = width * self._dtype.itemsize
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._descriptor = os.open(path, flags, 0o600)

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Put rows at ``start`` and wait until they are on disk."""
        data = np.ascontiguousarray(rows, self._dtype).data.cast("B")
        place = start * self._size
        while data:
            written = os.pwrite(self._descriptor, data, place)
            place += written
            data = data[written:]
        os.fsync(self._descriptor)

    def blank(self, numbers: Sequence[int]) -> None:
        """Fill these rows with zeros."""
        zeros = bytes(self._size)
        for number in numbers:
            os.pwrite(self._descriptor, zeros, number * self._size)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Shape (stop - start, width).

        Raises:
            Corrupt: the file is shorter.
        """
        out = np.empty((stop - start, self._width), self._dtype)
        view = out.data.cast("B")
        place = start * self._size
        while view:
            got = os.preadv(self._descriptor, [view], place)
            if not got:
                raise Corrupt(
                    "a file of the vectors index is too short: run `analect rebuild vectors`"
                )
            place += got
            view = view[got:]
        return out

    def gather(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Shape (len(numbers), width).

        Rows are read one by one: mapping the file instead would count every page ever touched as
        memory of this process.

        Raises:
            Corrupt: the file is shorter.
        """
        size, descriptor = self._size, self._descriptor
        parts = [os.pread(descriptor, size, place) for place in (numbers * size).tolist()]
        data = b"".join(parts)
        if len(data) != len(numbers) * size:
            raise Corrupt("a file of the vectors index is too short: run `analect rebuild vectors`")
        return np.frombuffer(data, self._dtype).reshape(len(numbers), self._width)

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self._descriptor)
