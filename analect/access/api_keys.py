"""API keys: long random texts of which a server holds only hashes.

A key is 32 random bytes, so an unsalted hash is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from analect.model.errors import ConfigurationError
from analect.model.ids import RandomBytes
from analect.settings import Settings

_FORM = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})\Z")
_SCHEME = "bearer "
_MAX_KEY = 512


def new_api_key(random_bytes: RandomBytes) -> tuple[str, str]:
    """A fresh key for a caller, and its hash for the settings."""
    key = "analect_" + urlsafe_b64encode(random_bytes(32)).decode().rstrip("=")
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """``sha256:`` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The hashes of the keys that are good; none means that no key is asked for."""

    digests: tuple[bytes, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> ApiKeys:
        """Keys of the settings and of the file they name.

        Raises:
            ConfigurationError: a hash has another form, the file cannot be read, or the server
                would listen beyond loopback without a key.
        """
        digests = [_digest(text, "api_keys") for text in settings.api_keys]
        if settings.api_keys_file is not None:
            found = [_digest(text, "api_keys_file") for text in _lines(settings.api_keys_file)]
            if not found:
                raise ConfigurationError(
                    "api_keys_file (ANALECT_API_KEYS_FILE) names a file without a key; add a hash "
                    "to it, or leave the setting out",
                    field="api_keys_file",
                )
            digests += found
        if not digests and not is_loopback(settings.http.host):
            raise ConfigurationError(
                "without API keys the server listens on loopback only: set http.host "
                "(ANALECT_HTTP__HOST) to 127.0.0.1, or make a key with `analect keys api-key new` "
                "and put its hash into ANALECT_API_KEYS",
                field="http.host",
            )
        return cls(tuple(digests))

    def __bool__(self) -> bool:
        return bool(self.digests)

    def allow(self, authorization: str | None) -> bool:
        """Whether this ``Authorization`` header carries a good key (always, without keys).

        Every hash is compared in full, so the time taken tells nothing.
        """
        if not self.digests:
            return True
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            return False
        key = authorization[len(_SCHEME) :].strip()
        if not 0 < len(key) <= _MAX_KEY:
            return False
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        return any([hmac.compare_digest(digest, good) for good in self.digests])  # noqa: C419  (all of them, always)


def is_loopback(host: str) -> bool:
    """Whether a server on ``host`` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(text: str, setting: str) -> bytes:
    match = _FORM.match(text)
    if match is None:
        raise ConfigurationError(
            f"{setting} holds something that is no hash: give `sha256:` and 64 hex digits, as "
            "`analect keys api-key new` prints them, never the key itself",
            field=setting,
        )
    return bytes.fromhex(match[1])


def _lines(path: Path) -> Iterable[str]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"api_keys_file (ANALECT_API_KEYS_FILE): {path} cannot be read", field="api_keys_file"
        ) from error
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]
