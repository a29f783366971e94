"""The same characters are personal data or not by what stands around them."""

import json
import re

import pytest

from analect.model.record import Draft
from analect.privacy.pseudonymise import Pseudonymiser

PSEUDONYMISER = Pseudonymiser(b"words" * 7, detectors=[])


@pytest.mark.parametrize(
    "text",
    [
        "password=@@",
        "PGPASSWORD=@@ psql",
        "mysql --password=@@ shop",
        "vault login --password @@",
        "password = '@@'",
        'password: "@@"',
        "<password>@@</password>",
        "Server=db;Uid=app;Pwd=@@;",
        "login: bob / password: @@",
        "my password is @@.",
        "The password is: @@",
        "Passwort: @@",
        "密码：@@",
    ],
)
@pytest.mark.parametrize("word", ["sunshine", "letmein"])
def test_a_word_given_to_a_password_is_replaced(text, word):
    replaced = PSEUDONYMISER.text(text.replace("@@", word))
    assert word not in replaced
    assert "<secret:" in replaced


@pytest.mark.parametrize(
    "text",
    ["use password @@ to log in", "passwd @@", "the password's @@", "password -> @@"],
)
def test_what_is_no_word_is_replaced_beside_the_name_too(text):
    replaced = PSEUDONYMISER.text(text.replace("@@", "b4nana77"))
    assert "b4nana77" not in replaced


def test_a_phone_number_ends_before_a_word_that_begins_with_a_digit():
    assert PSEUDONYMISER.text("+44 20 7946 0958 0A").endswith("> 0A")


@pytest.mark.parametrize(
    "text",
    [
        "password: required",
        "the password is incorrect",
        "my password is expired",
        "password=None",
        "password=password",
        "password: str",
        "password: SecretText",
        "login(user, password=pw)",
        "password = getpass()",
        "password=os.environ['P']",
        "reset_password=link",
        "password_field=login",
        "last_pass_time=1219328376",
        "forgot password: link",
        '"password": "string"',
        '<label for="password">Password</label>',
        "password: !vault",
        "password policy2024",
        "the password's wrong",
        "1.11.10.2 is the new version",
        "arn:aws:secretsmanager:eu-west-1:1:secret:MyAppSecret-a1b2c3",
    ],
)
def test_what_is_said_about_passwords_stays(text):
    assert PSEUDONYMISER.text(text) == text


@pytest.mark.parametrize(
    ("given", "is_secret"),
    [
        ({"password": "sunshine"}, True),
        ({"userPassword": "sunshine"}, True),
        ({"password": "string"}, False),
        ({"password": "must not be empty"}, False),
        ({"resetPassword": "sunshine"}, False),
        ({"password_hint": "sunshine"}, False),
    ],
)
def test_in_json_the_key_is_the_name(given, is_secret):
    draft = Draft(input=dict(given))
    assert PSEUDONYMISER.drafts([draft]) == [None]
    assert (draft.input != given) is is_secret


@pytest.mark.parametrize(
    ("text", "is_card"),
    [
        ("charge 4539148803436467 please", True),
        ("order 4539148803436467", False),
        ("tracking number: 4539 1488 0343 6467", False),
        ("4539148803436467 is my order number", False),
        ("eventId=4539148803436467", False),
        ("card no. 4539148803436467", True),
        ("card #4539148803436467", True),
        ("6759649826438453", False),
        ("maestro 6759649826438453", True),
        ("7021 4539 1488 0343 6467", False),
    ],
)
def test_the_words_around_a_number_say_whether_it_is_a_card(text, is_card):
    assert ("<card:" in PSEUDONYMISER.text(text)) is is_card


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("card", "4111111111111111"),
        ("ip", "10.3.4.5"),
        ("ssn", "SSN 219-09-9999"),
        ("phone", "电话13912345678"),
        ("iban", "DE89370400440532013000"),
        ("secret", "ghp_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R"),
        ("email", "bob@example.com"),
    ],
)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_json_inside_text_hides_nothing(kind, value, depth):
    """The arguments of a tool's call: a line's end in front is the letter ``n`` there."""
    text = f"{value}\n{value}\t{value}"
    for _ in range(depth):
        text = json.dumps({"arguments": text})
    replaced = PSEUDONYMISER.text(text)
    assert replaced.count(f"<{kind}:") == 3
    assert len(set(re.findall(rf"<{kind}:\w+>", replaced))) == 1
    for _ in range(depth):
        replaced = json.loads(replaced)["arguments"]


def test_what_is_found_behind_escapes_is_put_back_in_its_place():
    text = "é\\u00e9 ４\\n10.3.4.5%20и%3D10.3.4.6 ＮＯ ２０３．０．１１３．７ é"
    token = PSEUDONYMISER.text("10.3.4.5")
    other = PSEUDONYMISER.text("10.3.4.6")
    third = PSEUDONYMISER.text("203.0.113.7")
    assert PSEUDONYMISER.text(text) == f"é\\u00e9 ４\\n{token}%20и%3D{other} ＮＯ {third} é"


def test_an_escaped_nul_does_not_part_texts():
    record = Draft(input={"a": "x\\u00001%004", "b": "10.3.4.5%0010.3.4.6"})
    assert PSEUDONYMISER.drafts([record]) == [None]
    assert list(record.input) == ["a", "b"]
    assert record.input["a"] == "x\\u00001%004"


@pytest.mark.parametrize(
    "text", ["密码：abc12345，我们明天见", "密码是abc12345，谢谢", "パスワードはabc12345です"]
)
def test_a_password_ends_where_its_sentence_goes_on(text):
    assert PSEUDONYMISER.text(text) == text.replace(
        "abc12345", PSEUDONYMISER.text("password=abc12345").removeprefix("password=")
    )
