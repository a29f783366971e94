"""What an object holds, told by its hash."""

from __future__ import annotations

import hashlib

from analect.lifecycle.places.place import Place

READ_BYTES = 1 << 22


def hash_of(place: Place, name: str) -> tuple[int, str]:
    """Bytes and SHA-256 of an object.

    Raises:
        NotFound: it is not there.
    """
    whole, count = hashlib.sha256(), 0
    with place.open(name) as stream:
        while part := stream.read(READ_BYTES):
            whole.update(part)
            count += len(part)
    return count, whole.hexdigest()
