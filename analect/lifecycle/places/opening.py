"""From what people write to the place it means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.places.place import Place
from analect.model.errors import ConfigurationError
from analect.privacy.keyring import FolderKeyRing, KeyRing
from analect.settings import Objects

if TYPE_CHECKING:
    from analect.lifecycle.places.bucket import BucketPlace


def is_bucket(address: str) -> bool:
    """Whether it is ``s3://…``, else a folder."""
    return address.startswith("s3://")


def open_place(address: str, objects: Objects) -> Place:
    """The place at ``s3://bucket/prefix``, or the folder of that path; nothing is asked of it yet.

    Raises:
        ConfigurationError: the address is wrong, or buckets need an extra that is not installed.
    """
    if is_bucket(address):
        return open_bucket(address, objects)
    if "://" in address:
        raise ConfigurationError(
            "a place is a folder or s3://bucket/prefix, nothing else", field="dest"
        )
    return FolderPlace(Path(address))


def open_bucket(address: str, objects: Objects) -> BucketPlace:
    """The part of a bucket at ``s3://bucket/prefix``.

    Raises:
        ConfigurationError: as :func:`open_place`.
    """
    try:
        from analect.lifecycle.places.bucket import BucketPlace
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "object stores need the extra archive: pip install 'analect[archive]'"
        ) from error
    parts = urlsplit(address)
    if not parts.netloc:
        raise ConfigurationError("name the bucket: s3://bucket/prefix", field="dest")
    return BucketPlace(parts.netloc, parts.path, objects)


def open_ring(address: str, objects: Objects) -> KeyRing:
    """The key ring in the folder or the part of a bucket at an address.

    Raises:
        ConfigurationError: as :func:`open_place`.
    """
    if not is_bucket(address):
        return FolderKeyRing(Path(address))
    from analect.lifecycle.places.rings import BucketKeyRing

    return BucketKeyRing(open_bucket(address, objects))


def address_of(dest: str, *names: str) -> str:
    """The address of what is below ``dest``; the folder's is absolute."""
    whole = dest.rstrip("/") if is_bucket(dest) else str(Path(dest).resolve())
    return "/".join((whole, *names))
