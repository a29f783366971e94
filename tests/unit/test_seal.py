"""Sealing: every JSON comes back, and nothing opens in another place or another shape."""

from __future__ import annotations

import os
import threading

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from analect.model.errors import Corrupt, InvalidInput, KeyDestroyed
from analect.model.ids import new_id
from analect.privacy import dictionary
from analect.privacy.keys import DataKey
from analect.privacy.seal import (
    Sealer,
    annotation_binding,
    document_binding,
    key_id_of,
    vault_binding,
)


def key(key_id: int = 7) -> DataKey:
    material = os.urandom(32)
    return DataKey(key_id, 1, b"\x01" * 16, material, AESGCM(material))


def record_id() -> str:
    return new_id(1_750_000_000_000_000, os.urandom)


KEY, RECORD = key(), record_id()
SEALER = Sealer(os.urandom)
texts = st.text(st.characters(exclude_categories=["Cs"]))
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | texts
)
json = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
payloads = st.tuples(json, json, json, json)


@given(payloads)
def test_any_json_comes_back(payload):
    blob = SEALER.seal(KEY, RECORD, payload)
    assert SEALER.open(blob, RECORD, {7: KEY}) == payload
    assert key_id_of(blob) == 7


@given(payloads, st.data())
@settings(max_examples=200)
def test_a_changed_bit_or_a_missing_end_is_noticed(payload, data):
    blob = SEALER.seal(KEY, RECORD, payload)
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    changed = bytearray(blob)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Corrupt, KeyDestroyed)) as caught:
        SEALER.open(bytes(changed), RECORD, {7: KEY})
    # Only a changed key id asks for a key that is not there.
    assert (caught.type is KeyDestroyed) == (2 <= bit // 8 < 10)
    with pytest.raises(Corrupt):
        SEALER.open(blob[: data.draw(st.integers(0, len(blob) - 1))], RECORD, {7: KEY})


def test_another_record_another_key_a_destroyed_key():
    blob = SEALER.seal(KEY, RECORD, ("secret", None, None, None))
    with pytest.raises(Corrupt, match="does not verify"):
        SEALER.open(blob, record_id(), {7: KEY})
    with pytest.raises(Corrupt):
        SEALER.open(blob, RECORD, {7: key()})
    with pytest.raises(KeyDestroyed):
        SEALER.open(blob, RECORD, {8: key(8)})


def test_the_same_text_never_looks_the_same():
    assert len({SEALER.seal(KEY, RECORD, ("same", None, None, None)) for _ in range(50)}) == 50


def test_sealed_again_under_another_key():
    old, new = key(1), key(2)
    blob = SEALER.reseal(SEALER.seal(old, RECORD, ("a", [1], {}, None)), RECORD, old, new)
    assert SEALER.open(blob, RECORD, {2: new}) == ("a", [1], {}, None)
    with pytest.raises(KeyDestroyed):
        SEALER.open(blob, RECORD, {1: old})


@pytest.mark.parametrize("value", [object(), 2**64, "\ud800", {"a": object()}])
def test_what_is_not_json_is_refused(value):
    with pytest.raises(InvalidInput) as caught:
        SEALER.seal(KEY, RECORD, (value, None, None, None))
    assert caught.value.field == "input"


def test_sizes_are_bounded_both_ways():
    small = Sealer(os.urandom, most=1000)
    with pytest.raises(InvalidInput):
        small.seal(KEY, RECORD, ("x" * 1000, None, None, None))
    bomb = SEALER.seal(KEY, RECORD, ("x" * 100_000, None, None, None))
    assert len(bomb) < 500
    with pytest.raises(Corrupt, match="unpacks to more"):
        small.open(bomb, RECORD, {7: KEY})


@given(st.binary(max_size=300))
def test_bytes_belong_to_one_place(plain):
    place = document_binding("user", "anna")
    blob = SEALER.seal_bytes(KEY, place, plain)
    assert SEALER.open_bytes(KEY, place, blob) == plain
    for other in (document_binding("user", "berta"), vault_binding("x"), b""):
        with pytest.raises(Corrupt):
            SEALER.open_bytes(KEY, other, blob)
    with pytest.raises(KeyDestroyed):
        SEALER.open_bytes(key(8), place, blob)


def test_a_record_is_no_document():
    place = annotation_binding(RECORD, "topics", "summary")
    with pytest.raises(Corrupt, match="form"):
        SEALER.open(SEALER.seal_bytes(KEY, place, b"x"), RECORD, {7: KEY})


def test_short_texts_gain_by_the_dictionary():
    text = "I would like to change my reservation. Could you please help me with that?"
    blob = SEALER.seal(KEY, RECORD, (text, None, None, None))
    assert len(blob) < len(text) * 0.75 + 38


def test_a_dictionary_of_a_newer_release_is_named(monkeypatch):
    packer = dictionary.Packer(1000)
    with pytest.raises(Corrupt, match="dictionary 250"):
        packer.unpack(packer.pack(b"text"), 250)


def test_threads_do_not_share_compressors():
    failures = []

    def work(seed: int) -> None:
        try:
            for number in range(200):
                payload = (f"{seed} says {number} " * (seed + 1), None, None, None)
                blob = SEALER.seal(KEY, RECORD, payload)
                assert SEALER.open(blob, RECORD, {7: KEY}) == payload
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


def test_a_key_never_shows_itself():
    assert repr(KEY.material) not in repr(KEY)
