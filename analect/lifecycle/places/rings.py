"""A key ring in an object store."""

from __future__ import annotations

from collections.abc import Mapping

from analect.lifecycle.places.bucket import BucketPlace
from analect.model.errors import ConfigurationError, Conflict, NotFound


class BucketKeyRing:
    """See :class:`analect.privacy.keyring.KeyRing`. The bucket must not keep old versions: what is
    destroyed in a ring has to be gone.
    """

    def __init__(self, bucket: BucketPlace) -> None:
        self._bucket = bucket
        self._looked = False

    @property
    def place(self) -> str:
        """Its address."""
        return self._bucket.address

    def put(self, name: str, data: bytes) -> bool:
        """Store unless the name is taken (then False).

        Raises:
            ConfigurationError: the bucket keeps old versions.
        """
        try:
            with self._bucket.create(name) as stream:
                stream.write(data)
        except Conflict:
            return False
        if not self._looked and self._bucket.keeps_versions(name):
            raise ConfigurationError(
                f"the bucket of {self.place} keeps old versions, so an erasure could not destroy "
                "keys there: use a bucket without versioning",
                field="dest",
            )
        self._looked = True
        return True

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Store those whose names are free."""
        for name, data in objects.items():
            self.put(name, data)

    def replace(self, name: str, old: bytes, data: bytes) -> bool:
        """Store in place of ``old``; False when that is not what is there."""
        return self._bucket.swap(name, old, data)

    def read(self, name: str) -> bytes | None:
        """The object, or None."""
        try:
            with self._bucket.open(name) as stream:
                return stream.read()
        except NotFound:
            return None

    def names(self) -> list[str]:
        """Every name, in order."""
        return self._bucket.names()

    def delete(self, name: str) -> None:
        """Remove the object."""
        self._bucket.delete(name)
