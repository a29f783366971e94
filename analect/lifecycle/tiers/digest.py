"""A digest of a table's content, the same whichever way its memory is laid out.

What was written is compared with what is read back by it, row group by row group.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def digest(table: Any) -> bytes:
    """32 bytes over every column's values and nulls, in order."""
    whole = hashlib.sha256()
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        whole.update(f"{name}\0{len(column)}\0".encode())
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            _feed(whole, chunk)
    return whole.digest()


def _feed(whole: Any, array: Any) -> None:
    if array.null_count:
        whole.update(np.packbits(pc.is_null(array).to_numpy(zero_copy_only=False)).tobytes())
    kind = array.type
    if pa.types.is_map(kind) or pa.types.is_list(kind):
        every = array.offsets.to_numpy(zero_copy_only=False)
        whole.update(np.diff(every).astype("<i4").tobytes())
        low, count = int(every[0]), int(every[-1] - every[0])
        parts = (array.keys, array.items) if pa.types.is_map(kind) else (array.values,)
        for part in parts:
            _feed(whole, part.slice(low, count))
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        lengths = pc.fill_null(pc.binary_length(array), 0)
        whole.update(lengths.to_numpy(zero_copy_only=False).astype("<i4").tobytes())
        whole.update(_bytes_of(array))
    elif pa.types.is_fixed_size_binary(kind):
        _feed(whole, array.cast(pa.binary()))
    elif pa.types.is_boolean(kind):
        filled = pc.fill_null(array, False) if array.null_count else array
        whole.update(np.packbits(filled.to_numpy(zero_copy_only=False)).tobytes())
    else:
        if pa.types.is_timestamp(kind):
            array = array.cast(pa.int64())
        filled = pc.fill_null(array, 0) if array.null_count else array
        whole.update(filled.to_numpy(zero_copy_only=False).tobytes())


def _bytes_of(array: Any) -> memoryview:
    """The bytes of strings between the first and the last offset; nulls have none."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    every = np.frombuffer(offsets, np.int32)
    low, high = every[array.offset], every[array.offset + len(array)]
    return memoryview(data)[low:high]
