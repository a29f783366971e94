"""A place that is a bucket, or a part of one, in an S3-compatible object store."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import obstore
import stamina
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from analect.model.errors import ConfigurationError, Conflict, NotFound, StoreUnavailable
from analect.settings import Objects

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

PART = 8 * 1024 * 1024
"""Bytes. A smaller object is written by one conditional request, a larger one in such parts, each
of which is tried again by itself."""
PARTS_AT_ONCE = 4


class BucketPlace:
    """See :class:`analect.lifecycle.places.place.Place`.

    An object of more than :data:`PART` bytes is looked for before it is written, not while: S3
    offers no condition there that all stores keep. Give large objects names that nobody else
    would. Parts of one that was never finished are invisible; a lifecycle rule of the bucket
    removes them.
    """

    def __init__(self, bucket: str, prefix: str, objects: Objects) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._patience = objects.retry_seconds
        self._store = S3Store(
            bucket,
            config=_config(objects),
            client_options=_client(objects),
            retry_config=_retry(objects),
        )

    @property
    def address(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Write an object; it appears when the block ends well."""
        path = self._path(name)
        stream = _Writing(self._store, path)
        yield cast("BinaryIO", stream)
        with _translating(self._named(name)):
            stream.finish()

    def open(self, name: str) -> BinaryIO:
        """Read an object, ranges of it at a time."""
        with _translating(self._named(name)):
            found = obstore.open_reader(self._store, self._path(name), buffer_size=PART)
        return io.BufferedReader(_Reading(found, self._named(name)), PART)

    def read(self, name: str, start: int, length: int) -> bytes:
        """A range of an object."""
        size = self.size(name)
        if size is None:
            raise NotFound(f"{self._named(name)} is not there")
        end = min(start + length, size)
        if end <= start:
            return b""
        with _translating(self._named(name)):
            return bytes(
                obstore.get_range(self._store, self._path(name), start=start, length=end - start)
            )

    def size(self, name: str) -> int | None:
        """Its bytes, or None."""
        try:
            with _translating(self._named(name)):
                return int(obstore.head(self._store, self._path(name))["size"])
        except NotFound:
            return None

    def swap(self, name: str, old: bytes, data: bytes) -> bool:
        """Replace what is there, if it is ``old``."""
        path = self._path(name)
        try:
            with _translating(self._named(name)):
                found = obstore.get(self._store, path)
                tag = found.meta["e_tag"]
                if bytes(found.bytes()) != old or tag is None:
                    return False
                obstore.put(self._store, path, data, mode={"e_tag": tag})
        except NotFound:
            return False
        except Conflict:
            # The answer to a first try may have been lost on the way.
            return self._content(name) == data
        return True

    def names(self, name: str = "") -> list[str]:
        """What is one level below ``name``."""
        prefix = self._path(name)
        with _translating(self._named(name)):
            found = self._listed(f"{prefix}/" if prefix else None)
        paths = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    def delete(self, name: str) -> None:
        """Remove an object."""
        try:
            with _translating(self._named(name)):
                obstore.delete(self._store, self._path(name))
        except NotFound:
            return

    def keeps_versions(self, name: str) -> bool:
        """Whether the bucket keeps older versions of an object, and so of all of them."""
        with _translating(self._named(name)):
            return obstore.head(self._store, self._path(name))["version"] is not None

    def _listed(self, prefix: str | None) -> Any:
        """An answer that breaks off half-way is asked for again, which the store's client leaves
        to its caller.
        """
        again = stamina.retry_context(on=GenericError, attempts=5, timeout=self._patience)
        for attempt in again:
            with attempt:
                return obstore.list_with_delimiter(self._store, prefix)
        raise AssertionError  # the last attempt raises

    def _content(self, name: str) -> bytes:
        with self.open(name) as stream:
            return stream.read()

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}".strip("/")

    def _named(self, name: str) -> str:
        return f"{self.address}/{name}".rstrip("/")


class _Writing:
    """Collects up to one part, then uploads in parts. Nothing stands before :meth:`finish`."""

    def __init__(self, store: S3Store, path: str) -> None:
        self._store = store
        self._path = path
        self._held = bytearray()
        self._upload: Any = None
        self._written = 0

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing is flushed before the end."""

    def write(self, data: bytes) -> int:
        self._held += data
        self._written += len(data)
        if len(self._held) >= PART:
            self._send()
        return len(data)

    def finish(self) -> None:
        if self._upload is None:
            self._put()
            return
        self._send()
        try:
            self._upload.close()
        except (BaseError, OSError, ValueError):
            # The answer to a completion that was done may have been lost on the way.
            if _size(self._store, self._path) != self._written:
                raise

    def _put(self) -> None:
        data = bytes(self._held)
        try:
            obstore.put(self._store, self._path, data, mode="create")
        except AlreadyExistsError:
            # As above: the one that is there may be this one.
            if bytes(obstore.get(self._store, self._path).bytes()) != data:
                raise

    def _send(self) -> None:
        with _translating(self._path):
            if self._upload is None:
                if _size(self._store, self._path) is not None:
                    raise Conflict(f"{self._path} is there already")
                self._upload = obstore.open_writer(
                    self._store, self._path, buffer_size=PART, max_concurrency=PARTS_AT_ONCE
                )
            self._upload.write(bytes(self._held))
            self._held.clear()


class _Reading(io.RawIOBase):
    """The raw side of a buffered reader."""

    def __init__(self, found: Any, named: str) -> None:
        super().__init__()
        self._found = found
        self._named = named

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._found.seek(offset, whence))

    def tell(self) -> int:
        return int(self._found.tell())

    def readinto(self, buffer: Any) -> int:
        with _translating(self._named):
            data = memoryview(self._found.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)


def _size(store: S3Store, path: str) -> int | None:
    try:
        return int(obstore.head(store, path)["size"])
    except FileNotFoundError:
        return None


@contextmanager
def _translating(named: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{named} is not there") from error
    except (AlreadyExistsError, PreconditionError) as error:
        raise Conflict(f"{named} is there already") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise ConfigurationError(
            f"the object store refuses {named}: check objects.access_key_id and "
            "objects.secret_access_key, and what they may do",
            field="objects.access_key_id",
        ) from error
    except (BaseError, OSError, ValueError) as error:
        # Its own words hold addresses and answers of the store; the kind is enough for people.
        raise StoreUnavailable(
            f"the object store does not do what is asked with {named} ({type(error).__name__}): "
            "check objects.endpoint, and that the bucket is there"
        ) from error


def _config(objects: Objects) -> Any:
    config: dict[str, Any] = {
        "region": objects.region,
        "virtual_hosted_style_request": not objects.path_style,
        "conditional_put": "etag",
    }
    if objects.endpoint is not None:
        config["endpoint"] = objects.endpoint
    for name, value in objects.credentials().items():
        config[name] = value.get_secret_value()
    return config


def _client(objects: Objects) -> ClientConfig:
    options: ClientConfig = {"timeout": timedelta(seconds=objects.timeout_seconds)}
    if objects.endpoint is not None and objects.endpoint.startswith("http://"):
        options["allow_http"] = True
    if objects.ca_file is not None:
        try:
            options["root_certificate"] = objects.ca_file.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"objects.ca_file {objects.ca_file} cannot be read: {error.strerror}",
                field="objects.ca_file",
            ) from error
    return options


def _retry(objects: Objects) -> RetryConfig:
    return {"max_retries": 10, "retry_timeout": timedelta(seconds=objects.retry_seconds)}
