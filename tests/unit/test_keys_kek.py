"""Key-encryption keys: from a file, a passphrase, the environment; and what refuses to open."""

from __future__ import annotations

import base64
import os

import pytest

from analect.model.errors import ConfigurationError, KeyUnavailable
from analect.privacy import kek
from analect.privacy.kek import (
    FileKek,
    LocalKek,
    kek_from_passphrase,
    kek_from_text,
    open_kek,
    read_key_file,
    write_key_file,
)
from analect.settings import Settings


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture(autouse=True)
def quick_scrypt(monkeypatch):
    monkeypatch.setattr(kek, "SCRYPT_N", 2**10)


def test_wrapped_secrets_open_in_their_place_only():
    key = LocalKek("here", [os.urandom(32)], os.urandom)
    wrapped = key.wrap(b"secret", b"place")
    assert key.unwrap(wrapped, b"place") == b"secret"
    for blob, place in ((wrapped, b"other"), (wrapped[:-1], b"place"), (b"", b"place")):
        with pytest.raises(KeyUnavailable, match="here"):
            key.unwrap(blob, place)
    other = LocalKek("elsewhere", [os.urandom(32)], os.urandom)
    with pytest.raises(
        KeyUnavailable, match=f"elsewhere: {other.names[0]}.*needs key {key.names[0]}"
    ):
        other.unwrap(wrapped, b"place")


def test_an_older_key_still_opens_but_the_first_wraps():
    old, new = os.urandom(32), os.urandom(32)
    wrapped = LocalKek("old", [old], os.urandom).wrap(b"secret", b"")
    both = kek_from_text("both", f"{text(new)}\n{text(old)}\n", os.urandom)
    assert both.unwrap(wrapped, b"") == b"secret"
    assert not both.wraps(wrapped)
    again = both.wrap(b"secret", b"")
    assert both.wraps(again)
    assert LocalKek("new", [new], os.urandom).unwrap(again, b"") == b"secret"


@pytest.mark.parametrize("bad", ["", "not base64!", text(b"short")])
def test_a_key_that_is_none_is_named(bad):
    with pytest.raises(KeyUnavailable, match="ANALECT"):
        kek_from_text("ANALECT_KEYS__KEK_VALUE", bad, os.urandom)


def test_a_passphrase_opens_its_own_store_only():
    wrapped = kek_from_passphrase("correct horse", b"store", os.urandom).wrap(b"secret", b"")
    again = kek_from_passphrase("correct horse", b"store", os.urandom)
    assert again.unwrap(wrapped, b"") == b"secret"
    for words, salt in (("wrong horse", b"store"), ("correct horse", b"other")):
        with pytest.raises(KeyUnavailable):
            kek_from_passphrase(words, salt, os.urandom).unwrap(wrapped, b"")


def test_the_file_is_made_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "folder" / "ring.kek"
    first = FileKek(path, os.urandom, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    wrapped = first.wrap(b"secret", b"")
    assert FileKek(path, os.urandom, create=True).unwrap(wrapped, b"") == b"secret"
    assert [entry.name for entry in path.parent.iterdir()] == ["ring.kek"]
    path.chmod(0o644)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        FileKek(path, os.urandom, create=False)


def test_a_file_that_should_be_there_is_not_made_again(tmp_path):
    with pytest.raises(KeyUnavailable, match=r"ring\.kek is not there"):
        FileKek(tmp_path / "ring.kek", os.urandom, create=False)


def test_a_place_where_no_file_can_be_made_says_how_to_name_another(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KeyUnavailable, match="ANALECT_KEYS__RING"):
        FileKek(tmp_path / "file" / "store.kek", os.urandom, create=True)


def test_a_running_program_sees_a_rotated_file(tmp_path):
    path = tmp_path / "ring.kek"
    running = FileKek(path, os.urandom, create=True)
    before = running.wrap(b"secret", b"")
    new = os.urandom(32)
    write_key_file(path, [new, *read_key_file(path)])
    after = running.wrap(b"secret", b"")
    assert LocalKek("new", [new], os.urandom).unwrap(after, b"") == b"secret"
    assert running.unwrap(before, b"") == b"secret"


def settings_of(tmp_path, **keys) -> Settings:
    return Settings(home=tmp_path / "data", keys={"ring": tmp_path / "ring", **keys})


def test_settings_choose(tmp_path):
    key = os.urandom(32)
    for chosen in (
        {},
        {"kek": "env", "kek_value": text(key)},
        {"kek": "passphrase", "passphrase": "words"},
    ):
        opened = open_kek(settings_of(tmp_path, **chosen), "store", os.urandom, fresh=True)
        assert opened.unwrap(opened.wrap(b"secret", b""), b"") == b"secret"
    words = tmp_path / "words"
    words.write_text("words\n")
    same = open_kek(
        settings_of(tmp_path, kek="passphrase", passphrase_file=words),
        "store",
        os.urandom,
        fresh=False,
    )
    assert same.unwrap(opened.wrap(b"secret", b""), b"") == b"secret"


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"kek": "env"}, "keys.kek_value"),
        ({"kek": "passphrase"}, "keys.passphrase"),
        ({"kek_file": "data/kek"}, "keys.kek_file"),
    ],
)
def test_settings_that_name_no_key_say_which(tmp_path, keys, field):
    if "kek_file" in keys:
        keys = {"kek_file": tmp_path / keys["kek_file"]}
    with pytest.raises(ConfigurationError) as caught:
        open_kek(settings_of(tmp_path, **keys), "store", os.urandom, fresh=True)
    assert caught.value.field == field
