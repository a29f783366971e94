"""The proof that planted personal data is nowhere: a raw scan of bytes, in several encodings."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Proof:
    """``found``: (name of the planted value, where); empty is what it should be."""

    files: int
    bytes: int
    values: int
    found: tuple[tuple[str, str], ...]


def forms(value: str) -> set[bytes]:
    """The byte forms a value may take in a file."""
    plain = value.encode()
    return {
        plain,
        value.lower().encode(),
        value.encode("utf-16-le"),
        value.encode("utf-16-be"),
        quote(value, safe="").encode(),
        plain.hex().encode(),
        json.dumps(value)[1:-1].encode(),
        *(_inside_base64(plain, offset) for offset in range(3)),
    }


def _inside_base64(plain: bytes, offset: int) -> bytes:
    """What base64 makes of it ``offset`` bytes into a group of three, whatever is around it."""
    encoded = base64.b64encode(bytes(offset) + plain)
    first = -(-offset * 8 // 6)  # characters that hold a bit of what stands before
    return encoded[first : (offset + len(plain)) * 8 // 6]


def search(planted: Mapping[str, str], folders: Iterable[Path], texts: Mapping[str, str]) -> Proof:
    """Look for every planted value in every file below ``folders`` and in ``texts``."""
    wanted = {name: forms(value) for name, value in planted.items()}
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    found: list[tuple[str, str]] = []
    total = 0
    places = [(str(path), path.read_bytes()) for path in files]
    places += [(name, text.encode()) for name, text in texts.items()]
    for place, content in places:
        total += len(content)
        found += [
            (name, place)
            for name, encodings in wanted.items()
            if any(encoding in content for encoding in encodings)
        ]
    return Proof(len(places), total, len(wanted), tuple(found))
