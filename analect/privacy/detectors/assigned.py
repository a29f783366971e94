"""Values given to a name that says what they are: ``api_key=…``, ``"password": "…"``."""

from __future__ import annotations

import re

from analect.privacy.detectors.matching import (
    ASSIGNED,
    Found,
    Rule,
    before,
    pattern,
    rule,
    text,
)
from analect.privacy.detectors.password import Place, is_about_passwords, is_password
from analect.privacy.detectors.vendors import is_random

_WORD = (
    r"passwd|password|passphrase|passcode|passwort|kennwort|contraseña|mot de passe|senha|wachtwoord|lösenord"
    r"|пароль|密码|口令|パスワード|비밀번호|pwd|[_\-.]pass|\bpass|\bpw"
)
_NAME = (
    rf"(?:{_WORD}|api[_\- ]?key|secret[_\- ]?key|secret|token|access[_\- ]?key(?:[_\- ]?id)?|account[_\- ]?key"
    r"|shared[_\- ]?access[_\- ]?key|client[_\- ]?secret|private[_\- ]?key|encryption[_\- ]?key|signing[_\- ]?key"
    r"|master[_\- ]?key|session[_\- ]?key|subscription[_\- ]?key|credentials?|auth[_\- ]?key|app[_\- ]?key"
    r"|(?:admin|service|server|deploy|storage|search|write|integration|consumer|root|merchant|project|functions?)[_\- ]?key|licen[sc]e[_\- ]?key|secretaccesskey|accesskeyid|authorization|bearer)"
)
_IS = r"(?:\x00:\x00|\s{0,3}(?::=|=>|==?|:|\x{ff1a}|->|→)\s{0,3}|>|(?:['\x{2019}]s|\s(?:is|was|ist|es|est|là|é))(?: :|[: ])\s?|\s?(?:は|是|为|為|는|은)\s?)"
_OPTION = r"--?[a-z\-]*(?:password|passphrase|pass|token|secret|api-?key)[ =]"
_HEAD = rf"(?i:{_OPTION}|{_NAME}(?:_\w{{1,12}})?(?:\\?[\"'\]]){{0,3}}{_IS})(?:\\?[\"'`]){{0,3}}"
# Scripts without blanks go on behind a password, and so do their points and brackets.
_VALUE = r"[^\x00\s\"'`,;<>(){}\[\]\\\x{3000}-\x{30ff}\x{4e00}-\x{9fff}\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff20}]"
_ASSIGNMENT = _HEAD + _VALUE + "{3}"
_TRIGGER = (
    r"(?i:key|key.?id|secret|token|passwd|password|passphrase|passcode|passwort|kennwort|contraseña|mot de passe|senha|wachtwoord|lösenord"
    r"|пароль|密码|口令|パスワード|비밀번호|pwd|[^a-z]pass|[^a-z]pw|credentials?|keyid|authorization|bearer)(?:_\w{1,12})?"
    r"[\\\"'\]]*(?:\x00:\x00|>|\s?(?::=|=>|==?|:|\x{ff1a}|->|→|は|是|为|為|는|은)|(?:['\x{2019}]s|\s(?:is|was|ist|es|est|là|é))[: ])[^\x00]"
    r"|-(?:password|passphrase|pass|token|secret|api-?key) [^\x00]"
)
_LONGEST = 256
_REST = pattern(_VALUE + "*")
_ASSIGNMENT_HEAD = pattern(_HEAD)

# "password b4nana": nothing between, so it must be no word.
_PASSWORD_BESIDE = (
    rf"(?i:passwd|password|passphrase|passwort|kennwort|contraseña|senha) [\"'`]?({_VALUE}{{6,64}})"
)
# "API key 4b0361f3…": nothing between, so the value must be long.
_BESIDE = (
    r"(?i:api[ _\-]?key|access[ _\-]?key|secret[ _\-]?key|auth[ _\-]?token|access[ _\-]?token|api[ _\-]?token)s? "
    r"[\"'`]?([A-Za-z0-9+/_\-]{16,}=*)"
)

_PLACEHOLDER = re.compile(
    r"your[_\- a-z]|(?:my|the|some)[_\- ]|(?:example|sample|dummy|test)(?:[_\-]|$)|change[_-]?me$|replace|insert[_\-]"
    r"|placeholder|redacted|xxx+|\*\*\*|\.\.\.|todo|(?:none|null|true|false|undefined)(?:$|\W)|env\b|os\.|process\."
    r"|config\.|settings\.|self\.|this\.|request\.|secrets?\.|vars?\.|\$|%[\w(]*[sd)%]|@|!\w|\{|required|nullable|optional",
    re.IGNORECASE,
)
# A name, a call's object, a path: code and configuration that speak of a secret, not the secret.
_CODE = re.compile(
    r"[A-Za-z_]+\d{0,2}(?:\.[A-Za-z_]+\d{0,2})+$|_[A-Z][A-Za-z]+$|[A-Za-z]+(?:[_\-][A-Za-z]+)+\d?$|/[\w./\-]+$|https?:"
    r"|[a-z0-9_.\-]+(?:/[a-z0-9_.\-]+)+$"
)
_KEBAB = re.compile(r"[a-z]{2,}(?:[_\-.][a-z]{2,})+(?:[_\-.][a-z0-9]{1,10})*$")
# The name is of something about it.
_OF_IT = re.compile(
    r"_(?:time|date|at|age|ttl|expir\w*|count|len|length|size|limit|min|max|id|idx|index|type|name|file|path|url|uri|policy|status)\W",
    re.IGNORECASE,
)
# In the full name of a .NET assembly.
_PUBLIC = b"PublicKeyToken="
_TYPE = re.compile(r"[A-Z]+\d{1,2}(?:[A-Z][a-z]{2,}){2,}$")
_NEXT_PARAMETER = re.compile(r"&\w+=")
_MAY_BE_UUID = re.compile(r"key|secret|(?:auth|access)token", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$", re.IGNORECASE)
_PASSWORD = re.compile(rf"(?:{_WORD})(?![a-z])", re.IGNORECASE)

# sshpass -p secret ssh …
_ON_A_COMMAND = r"(?:\bsshpass\b[^\x00\r\n|;]*? -p|\bredis-cli\b[^\x00\r\n|;]*? -a) ?[\"']?([^\x00\s\"'$<{]{4,})"


def _check_as_it_is(blob: bytes, start: int, end: int) -> Found | None:
    return Found(start, end, text(blob, start, end))


def _check_assignment(blob: bytes, start: int, end: int) -> Found | None:
    found = _judge(blob, start, end)
    if found is None or found.end - found.start < _LONGEST:
        return found
    end = _REST.match(blob, found.end).end()
    return Found(found.start, end, text(blob, found.start, end))


def _judge(blob: bytes, start: int, end: int) -> Found | None:
    """Looks at the first ``_LONGEST`` bytes of a value, so that many refusals stay cheap."""
    front = before(blob, start, 24)
    head = _ASSIGNMENT_HEAD.match(blob, start)
    said = text(blob, start, head.end())
    start = head.end()
    end = _REST.match(blob, end, end + _LONGEST).end()
    value = text(blob, start, end).rstrip(".:")
    value = _NEXT_PARAMETER.split(value)[0]
    end = start + len(value.encode())
    if (
        before(blob, start).endswith(_PUBLIC)
        or _PLACEHOLDER.match(value)
        or _OF_IT.search(said)
        or front.endswith((b":", b"/"))  # arn:aws:secretsmanager:…:secret:name
        or blob[end : end + 1] in (b"(", b"[", b"{")
    ):
        return None
    if is_uuid(value):
        # "pageToken" is a place in a list, "SNYK_TOKEN" a key.
        is_one = "token" in said.lower() and not front[-1:].isalpha()
        return Found(start, end, value) if is_one or _MAY_BE_UUID.search(said) else None
    if _CODE.match(value):
        return None
    named = _PASSWORD.search(said)
    if named is None:
        is_one = _is_key(said, value)
    else:
        place = Place(front, said[named.end() :], blob[end : end + 3])
        is_one = is_password(named.group().lower(), value, place)
    return Found(start, end, value) if is_one else None


def _is_key(said: str, value: str) -> bool:
    is_assigned = (" is" not in said and ":" not in said) or ASSIGNED.decode() in said
    enough = 12 if is_assigned else 16
    return (
        len(value) >= enough
        and is_random(value)
        and not _TYPE.match(value)
        and not _KEBAB.match(value)
    )


def is_uuid(value: str) -> bool:
    """Whether ``value`` is a UUID and no more."""
    return _UUID.match(value) is not None


def _check_beside(blob: bytes, start: int, end: int) -> Found | None:
    value = text(blob, start, end)
    return Found(start, end, value) if is_random(value) and not _KEBAB.match(value) else None


def _check_password_beside(blob: bytes, start: int, end: int) -> Found | None:
    value = text(blob, start, end).rstrip(".:!?")
    is_mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    if not is_mixed or len(value) < 6 or is_about_passwords(value) or _CODE.match(value):
        return None
    return Found(start, start + len(value.encode()), value)


RULES: tuple[Rule, ...] = (
    rule("secret", _ASSIGNMENT, _check_assignment, trigger=_TRIGGER),
    rule("secret", _BESIDE, _check_beside),
    rule("secret", _ON_A_COMMAND, _check_as_it_is),
    rule(
        "secret",
        _PASSWORD_BESIDE,
        _check_password_beside,
        trigger=r"(?i:passwd|password|passphrase|passwort|kennwort|contraseña|senha) [\"'`]?[^\x00\s]{6}",
    ),
)
