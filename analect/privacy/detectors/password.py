"""Whether a word is a password: the form must leave no doubt that it is the value, and not what is
said about it ("password: required").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from analect.privacy.detectors.matching import ASSIGNED

# What stands where a password would: words about passwords, types, code. Their beginnings.
_ABOUT = re.compile(
    r"passw|passp|polic|contrase|пароль|string|text|varchar|object|value|field|input|hash|bcrypt|argon|scrypt|plain|login|email"
    r"|required|optional|mandator|missing|invalid|incorrect|wrong|correct$|mismatch|expire|reset|change[ds]?$|default|hidden|empty|blank"
    r"|fail|error|denied|accept|reject|success|secure|insecure|encrypt|mask|protect|confidential|private|public|forgot|unlock"
    r"|visible|below|above|attach|pending|prompt|confirm|vault|stdin|keychain|generate|create|random|kwargs|param|function"
    r"|secretstr|return|undefined|integer|number|boolean|char|weak|strong|medium|short|long|please|unknown|admin_|update"
    r"|(?:pass|pwd|pw|secret|senha|str|bool|int|any|type|data|raw|user|name|good|unset|same|set|get|not|no|yes|ok|on|off|never"
    r"|always|safe|unsafe|lost|lock|need|here|tbd|ask|enter|see|file|path|env|none|null|true|false|nil|read|load|fetch|make|self"
    r"|this|args?|new|old|await|async|the|it|is|in|at|to|for|of|that|too|very|also|now|valid|match|crypt|sha|md5|what)$",
    re.IGNORECASE,
)
_QUALITY = re.compile(r"(?:ed|ing|able|ible|ful|less|ent|ant|ive|ous|en)$", re.IGNORECASE)
_TYPE_NAME = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)*$")
_ENGLISH = frozenset(["password", "passwd", "passphrase", "passcode", "pwd", "pw"])
_ASKED = re.compile(
    rb"(?i)(?:forgot(?:ten)?|reset|change|show|hide|has|is|no|needs?|requires?|with|update|set|toggle|verify|check|validate"
    rb"|encrypt|hash)[_\- ]?$"
)
_WHOSE = re.compile(
    rb"(?i)(?:my|his|her|our|their|your|new|old|temp|temporary|default|current|initial|root|admin|login|wi-?fi|mein|mon|mi)"
    rb"(?: \w+)? $"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands.

    ``front``: what is in front of the name. ``given``: what gives the value to it, quotes
    included. ``behind``: the bytes that follow.
    """

    front: bytes
    given: str
    behind: bytes

    @property
    def is_prose(self) -> bool:
        """``is``, or a colon, and no quotes."""
        return ASSIGNED.decode() not in self.given and self.given.strip(" :'\u2019").isalpha()

    @property
    def is_whole(self) -> bool:
        """The value ends where it must by how it began. In prose only the line ends it."""
        given, behind = self.given, self.behind
        at_end = behind[:1] in (b"\0", b"\n", b"\r", b"")
        if ASSIGNED.decode() in given:
            return at_end
        if given.endswith(("'", '"', "`")):
            return behind.lstrip(b"\\")[:1] == given[-1].encode()
        if given.endswith(">"):
            return behind.startswith(b"</")
        if given in ("", " ") or ("=" in given and not given.endswith(" ")):
            return behind[:1] not in (b")", b",")
        return at_end or behind[:1] == b"," or behind[:2] in (b".\0", b".\n", b";\0")


def classes(value: str) -> int:
    """How many of small letters, capitals, digits and other characters occur."""
    return (
        any(c.islower() for c in value)
        + any(c.isupper() for c in value)
        + any(c.isdigit() for c in value)
        + any(not c.isalnum() for c in value)
    )


def is_about_passwords(value: str) -> bool:
    """Whether a word is one of those that stand around passwords: "required", "hash", "policy"."""
    return _ABOUT.match(value) is not None


def is_password(name: str, value: str, place: Place) -> bool:
    """Whether ``value``, given to a ``name`` of passwords, is one."""
    has_digit = any(c.isdigit() for c in value)
    is_telling = has_digit or classes(value) >= 3
    if name == "pass":  # tests and compilers pass too
        return place.is_whole and has_digit and classes(value) >= 2 and len(value) >= 5
    if is_telling and len(value) >= 6:
        return True
    if not place.is_whole or len(value) < 4 or place.given.startswith("_"):
        return False
    return is_telling or _is_a_word_and_yet_one(name, value, place)


def _is_a_word_and_yet_one(name: str, value: str, place: Place) -> bool:
    if is_about_passwords(value) or _ASKED.search(place.front):
        return False
    if place.is_prose:
        is_told = ":" in place.given or _WHOSE.search(place.front) is not None
        return is_told and not _QUALITY.search(value)
    # Code speaks English: "password: SecretText" declares, "Passwort: MeinHund" tells.
    is_declared = place.given.strip(" ") == ":" and name in _ENGLISH
    return not (is_declared and (_TYPE_NAME.match(value) or _QUALITY.search(value)))
