"""Pseudonymising whole drafts: every place is looked at, nothing else is touched."""

import json
import math
from copy import deepcopy

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analect.model.errors import ConfigurationError, DetectionFailed, InvalidInput
from analect.model.record import MAX_DEPTH, Draft
from analect.privacy.detect import PrivacyOptions, Span
from analect.privacy.pseudonymise import Pseudonymiser
from analect.privacy.tokens import is_token

KEY = b"k" * 32
MAIL = "anna.schmidt@example.org"
PLANTED = (
    MAIL,
    "+44 20 7946 0958",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "536-22-1234",
    "192.168.17.4",
    "2001:db8::8a2e:370:7334",
    "00:1b:44:11:3a:b7",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
)


def make(options=None, detectors=(), key=KEY):
    return Pseudonymiser(key, options, detectors=detectors)


def one(draft, **kwargs):
    [error] = make(**kwargs).drafts([draft])
    return error


def test_every_place_of_a_record_is_looked_at():
    draft = Draft(
        id="0193b3a0-0000-7000-8000-000000000000",
        external_id=f"x-{MAIL}",
        project=MAIL,
        environment=MAIL,
        thread_id=f"chat with {MAIL}",
        process_id=MAIL,
        parent_id=MAIL,
        trace_id=MAIL,
        span_id=MAIL,
        session_id=MAIL,
        subject=MAIL,
        service=MAIL,
        name=f"answer {MAIL}",
        model=MAIL,
        status=MAIL,
        role=MAIL,
        source=MAIL,
        tags=[MAIL, "plain"],
        dimensions={MAIL: "x", "who": MAIL},
        measures={MAIL: 1.5, "plain": 2.0},
        input=f"I am {MAIL}.",
        output=[{"deep": [{"a": {MAIL: [f"<{MAIL}>"]}}]}],
        variables={"n": None, "t": True, "f": 1.5, "mail": MAIL},
        attributes={"to": [MAIL, MAIL]},
    )
    assert one(draft) is None
    assert MAIL not in repr(draft)
    assert draft.id == "0193b3a0-0000-7000-8000-000000000000"
    assert draft.tags[1] == "plain"
    assert draft.measures["plain"] == 2.0
    assert draft.variables["n"] is None
    assert draft.variables["t"] is True
    assert draft.variables["f"] == 1.5
    assert draft.attributes["to"][0] == draft.attributes["to"][1] == draft.project
    assert is_token(draft.project)


def test_identifiers_of_machines_survive():
    draft = Draft(
        thread_id="7b0f6a52-3c1e-4e7a-9d52-1f0c2b3a4d5e",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id="00f067aa0ba902b7",
        parent_id="12345678-1234-1234-1234-123456789012",
        model="gpt-4o-2024-08-06",
        tags=["v1.2.3.4", "2024-05-17", "@scope/pkg"],
        variables={"order": 1234567890, "at": 1763723000000, "ns": 1763723000000000000},
    )
    before = deepcopy(draft)
    assert one(draft) is None
    assert draft == before


def test_identifiers_are_always_hashed_and_tokens_left_alone():
    draft = Draft(session_id="s-1", subject="user 7")
    assert one(draft) is None
    assert draft.session_id == make().identifier("session", "s-1")
    assert draft.subject == make().identifier("subject", "user 7")
    assert make().identifier("session", draft.session_id) == draft.session_id
    assert make().promoted("session_id", "s-1") == draft.session_id
    assert make().promoted("name", "s-1") == "s-1"


def test_a_card_sent_as_a_number_is_found_and_other_numbers_are_not():
    draft = Draft(input={"card": 4111111111111111, "n": 13800138000, "phone": 4155552671})
    assert one(draft) is None
    assert draft.input["card"].startswith("<card:")
    assert draft.input["n"] == 13800138000
    assert draft.input["phone"] == make().text("+1 415 555 2671")


def test_names_of_fields_say_what_their_values_are():
    draft = Draft(
        attributes={
            "client_ip": "localhost",
            "http.user_agent": "my agent 7",
            "userAgent": "curl/8.4.0",
            "x-forwarded-for": "10.1.2.3, 10.1.2.4",
            "tooltip": "wording",
            "description": "an ip",
        },
        dimensions={"remote_addr": "host-7"},
    )
    assert one(draft) is None
    assert draft.attributes["client_ip"].startswith("<ip:")
    assert draft.attributes["http.user_agent"].startswith("<user-agent:")
    assert draft.attributes["userAgent"].startswith("<user-agent:")
    assert draft.attributes["x-forwarded-for"] == make().text("10.1.2.3, 10.1.2.4")
    assert draft.attributes["tooltip"] == "wording"
    assert draft.attributes["description"] == "an ip"
    assert draft.dimensions["remote_addr"] == make().dimension("remote_addr", "host-7")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (MAIL, MAIL.upper()),
        ("+44 20 7946 0958", "0044 20 79460958"),
        ("(415) 555-2671", "+1 415.555.2671"),
        ("+49 (0)30 123456", "+4930123456"),
        ("4111 1111 1111 1111", "4111-1111-1111-1111"),
        ("de89370400440532013000", "DE89 3704 0044 0532 0130 00"),
        ("2001:db8:0:0:0:0:0:1", "2001:DB8::1"),
        ("00-1B-44-11-3A-B7", "00:1b:44:11:3a:b7"),
    ],
)
def test_the_same_person_joins_however_written(left, right):
    assert is_token(make().text(left))
    assert make().text(left) == make().text(right)


def test_another_key_gives_other_tokens():
    assert make().text(MAIL) != make(key=b"j" * 32).text(MAIL)


def nested(depth):
    value = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "bad",
    [
        nested(MAX_DEPTH + 1),
        {"a": math.nan},
        [math.inf],
        {"a": [2**64]},
        {"a": -(2**63) - 1},
        {1: "x"},
        {"a": {None: 1}},
        "a\0b",
        {"a\0b": 1},
        "\ud800",
        {"k": ["\udfff"]},
        {"a": {1, 2}},
        {"a": b"bytes"},
    ],
)
def test_what_is_not_plain_json_is_refused_and_the_field_named(bad):
    good = Draft(input="fine")
    errors = make().drafts([Draft(output=bad), good])
    assert isinstance(errors[0], InvalidInput)
    assert errors[0].field == "output"
    assert errors[1] is None


def test_as_deep_as_allowed_is_taken():
    assert one(Draft(output=nested(MAX_DEPTH))) is None


def test_promoted_texts_with_bad_characters_are_named():
    assert one(Draft(name="a\0b")).field == "name"
    assert one(Draft(tags=["\ud800"])).field == "tags"
    assert one(Draft(measures={"a\0": 1.0})).field == "measures"


class Broken:
    kind = "broken"

    def find(self, text):
        if "boom" in text:
            raise RuntimeError(text)
        return []


def test_a_detector_that_fails_refuses_its_record_only_and_quotes_nothing():
    errors = make(detectors=[Broken()]).drafts([Draft(input="boom secret"), Draft(input="ok")])
    assert isinstance(errors[0], DetectionFailed)
    assert "secret" not in str(errors[0])
    assert errors[0].__cause__ is None
    assert errors[1] is None


class Badges:
    kind = "badge"

    def find(self, text):
        start = text.find("Bädge-")
        if start >= 0:
            yield Span(start, start + 8, text[start : start + 8].lower())


def test_a_plugged_detector_finds_in_characters():
    said = make(detectors=[Badges()]).text("ü Bädge-42 ü")
    assert said.startswith("ü <badge:")
    assert said.endswith("> ü")


def test_a_detector_of_a_bad_kind_is_refused():
    class Bad:
        kind = "Bad Kind"

        def find(self, _text):
            return []

    with pytest.raises(ConfigurationError):
        make(detectors=[Bad()])


def test_names_without_presidio_say_what_to_install():
    pytest.importorskip("re2")
    try:
        import presidio_analyzer  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigurationError, match="presidio-analyzer"):
            make(PrivacyOptions(names=True))


def test_allowed_values_stay_and_denied_ones_go():
    options = PrivacyOptions(
        allow=("Support@Example.org", r"/10\.0\.\d+\.\d+/"),
        deny=("Project Falcon", r"/EMP-\d{4}/", MAIL),
    )
    said = make(options).text(
        f"support@example.org at 10.0.3.4 not 10.1.3.4; project falcon, falconry, EMP-1234, {MAIL}"
    )
    assert said.startswith("support@example.org at 10.0.3.4 not <ip:")
    assert "project falcon" not in said
    assert "falconry" in said
    assert "EMP-1234" not in said
    assert said.count("<deny:") == 3


@pytest.mark.parametrize(
    "options", [{"allow": ("/(/",)}, {"deny": ("",)}, {"detectors": ("nose",)}]
)
def test_bad_options_are_named(options):
    with pytest.raises(ConfigurationError) as caught:
        make(PrivacyOptions(**options))
    assert caught.value.field.startswith("privacy.")


def test_only_the_detectors_asked_for():
    assert (
        make(PrivacyOptions(detectors=("ip",))).text(f"{MAIL} 10.0.0.1").startswith(f"{MAIL} <ip:")
    )
    assert make(PrivacyOptions(detectors=())).text(MAIL) == MAIL


def test_each_finding_is_told_with_its_draft():
    told = []
    make().drafts(
        [Draft(input="x"), Draft(input=MAIL, subject="s")], lambda *found: told.append(found)
    )
    assert {(value, index) for _, value, index in told} == {(MAIL, 1), ("s", 1)}


def test_two_spellings_of_a_person_as_keys_keep_both_values():
    draft = Draft(input={"Bob@x.org": 1, "bob@x.org": 2})
    assert one(draft) is None
    assert sorted(draft.input.values()) == [1, 2]


CLEAN = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    CLEAN,
)
JSON = st.recursive(
    LEAF,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(CLEAN, inner, max_size=4)),
    max_leaves=15,
)


def shape(value):
    if isinstance(value, dict):
        return [shape(child) for child in value.values()]
    if isinstance(value, list):
        return [shape(child) for child in value]
    return type(value).__name__


@pytest.mark.parametrize("behind", ["0328", "03 28", "0000"])
def test_a_card_is_found_with_the_month_it_expires_in_behind_it(behind):
    draft = Draft(input=f"4111 1111 1111 1111 {behind}")
    assert one(draft) is None
    assert "1111" not in str(draft.input)


@pytest.mark.parametrize("sign", ["$", "$ ", "#", "€"])
def test_a_card_in_groups_of_four_is_no_amount(sign):
    assert "1111" not in make().text(f"{sign}4111 1111 1111 1111")


@settings(max_examples=150)
@given(payload=JSON, planted=st.sampled_from(PLANTED), left=CLEAN, right=CLEAN)
def test_no_planted_value_survives_structure_does_and_twice_is_once(payload, planted, left, right):
    # In a row of numbers the words around decide what is a card.
    assume(not left.strip()[-1:].isdecimal())
    assume(not right.strip()[:1].isdecimal())
    text = f"{left} {planted} {right}"
    draft = Draft(
        input=payload, output={"a": [text, {planted: planted}]}, subject="s", name=planted
    )
    wanted = shape(payload)
    assert one(draft) is None
    said = json.dumps([draft.output, draft.name], ensure_ascii=False)
    assert planted not in said
    assert shape(draft.input) == wanted
    again = deepcopy(draft)
    assert one(again) is None
    assert again == draft


@given(text=CLEAN)
def test_any_text_twice_is_once(text):
    once = make().text(text)
    assert make().text(once) == once
