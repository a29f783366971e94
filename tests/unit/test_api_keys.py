"""Keys are checked by hash, and their settings explain themselves."""

from __future__ import annotations

import pytest

from analect.access.api_keys import ApiKeys, hash_of, is_loopback, new_api_key
from analect.model.errors import ConfigurationError
from analect.settings import Settings


def test_a_new_key_opens_and_another_does_not():
    key, digest = new_api_key(lambda n: bytes(range(n)))
    keys = ApiKeys.from_settings(Settings(api_keys=digest))
    assert keys
    assert keys.allow(f"Bearer {key}")
    assert keys.allow(f"bearer  {key} ")
    for wrong in (None, "", key, "Bearer", f"Bearer {key}x", f"Basic {key}", "Bearer " + "x" * 999):
        assert not keys.allow(wrong)
    assert digest == hash_of(key)
    assert key not in digest


def test_without_keys_everyone_on_this_machine_may():
    assert ApiKeys.from_settings(Settings()).allow(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_without_keys_no_other_machine_is_listened_to(host):
    with pytest.raises(ConfigurationError, match="api-key new") as caught:
        ApiKeys.from_settings(Settings(http={"host": host}))
    assert caught.value.field == "http.host"
    digest = new_api_key(bytes)[1]
    assert ApiKeys.from_settings(Settings(http={"host": host}, api_keys=digest))


def test_a_key_instead_of_its_hash_is_refused_and_not_quoted():
    with pytest.raises(ConfigurationError) as caught:
        ApiKeys.from_settings(Settings(api_keys="analect_s3cret"))
    assert caught.value.field == "api_keys"
    assert "s3cret" not in str(caught.value)


def test_a_file_of_hashes(tmp_path):
    (key, digest), file = new_api_key(lambda n: b"k" * n), tmp_path / "keys"
    file.write_text(f"# ours\n\n{digest}\n")
    assert ApiKeys.from_settings(Settings(api_keys_file=file)).allow(f"Bearer {key}")
    file.write_text(f"{digest.removeprefix('sha256:')}\n")
    assert ApiKeys.from_settings(Settings(api_keys_file=file)).allow(f"Bearer {key}")
    file.write_text("# none left\n")
    with pytest.raises(ConfigurationError, match="without a key"):
        ApiKeys.from_settings(Settings(api_keys_file=file))
    file.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ApiKeys.from_settings(Settings(api_keys_file=file))


def test_loopback():
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
