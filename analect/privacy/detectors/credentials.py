"""User names and passwords in addresses of services: ``https://user:password@host``."""

from __future__ import annotations

import re
from urllib.parse import unquote

from analect.privacy.detectors.matching import Found, Rule, is_word, pattern, rule, text

_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]{0,30}"
_URL = rf"{_SCHEME}://[^\x00\s/?#\"'<>`:@]*:[^\x00\s/\"'<>`]*@"
_URL_TRIGGER = r"://[^\x00\s/\"'<>`@]*:[^\x00\s/\"'<>`]*@"
_HEAD = pattern(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_TEMPLATE = re.compile(r"\$[{(]|\{\{|%s|\{user|\{pass|^\{|^<|<pass", re.IGNORECASE)

# A name or a token alone in front of the host. Repositories' own users are nobody's.
_ALONE = rf"{_SCHEME}://([^\x00\s/?#\"'<>`:@]{{2,}})@[^\x00\s/@]"
_ALONE_TRIGGER = r"://[^\x00\s/?#\"'<>`:@]{2,}@"
_NOBODY = frozenset(
    [
        "git",
        "hg",
        "svn",
        "anonymous",
        "gitlab-ci-token",
        "x-access-token",
        "user",
        "username",
        "name",
    ]
)

# The same as the value of another URL's parameter.
_QUOTED = r"(?i:%3a%2f%2f)([A-Za-z0-9._~%\-]*(?i:%3a)[A-Za-z0-9._~%!*\-]+)(?i:%40)"
_QUOTED_TRIGGER = r"%3[Aa]%2[Ff]%2[Ff]"

# jdbc:oracle:thin:scott/tiger@host, and Go's user:password@tcp(host:port)/base
_ORACLE = r"(?i:jdbc:oracle:\w+:)([^\x00\s/:@\"']+/[^\x00\s@\"']+)@"
_GO = r"([A-Za-z0-9_.\-]+:[^\x00\s/\"'`]+)@(?:tcp|unix)\("

# curl -u user:password https://…
_OPTION = r"\bcurl\b[^\x00\r\n|;]*? (?:-u|--user|-U|--proxy-user)[ =]?[\"']?([^\x00\s\"':$<{]+:[^\x00\s\"'$<{]{2,})"
_OPTION_TRIGGER = r" (?:-u|--user|-U|--proxy-user)[ =]?[\"']?[^\x00\s\"':$<{]+:[^\x00\s\"'$<{]{2}"


def _check_url(blob: bytes, start: int, end: int) -> Found | None:
    start = _HEAD.match(blob, start).end()
    value = text(blob, start, end - 1)
    if _TEMPLATE.search(value) or value == ":":
        return None  # a template holds no secret
    return Found(start, end - 1, value)


def _check_alone(blob: bytes, start: int, end: int) -> Found | None:
    value = text(blob, start, end)
    if value.lower() in _NOBODY or _TEMPLATE.search(value):
        return None
    return Found(start, end, value)


def _check_quoted(blob: bytes, start: int, end: int) -> Found | None:
    value = unquote(text(blob, start, end))
    return Found(start, end, value) if "/" not in value else None


def _check_as_it_is(blob: bytes, start: int, end: int) -> Found | None:
    value = text(blob, start, end)
    return None if is_word(blob, start - 1) or _TEMPLATE.search(value) else Found(start, end, value)


RULES: tuple[Rule, ...] = (
    rule("credentials", _URL, _check_url, trigger=_URL_TRIGGER),
    rule("credentials", _ALONE, _check_alone, trigger=_ALONE_TRIGGER),
    rule("credentials", _QUOTED, _check_quoted, trigger=_QUOTED_TRIGGER),
    rule("credentials", _ORACLE, _check_as_it_is),
    rule("credentials", _OPTION, _check_as_it_is, trigger=_OPTION_TRIGGER),
    rule("credentials", _GO, _check_as_it_is, trigger=r"@(?:tcp|unix)\("),
)
