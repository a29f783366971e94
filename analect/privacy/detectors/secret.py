"""What opens a door by its form or its place: private keys, JWT, headers, cookies, signed URLs."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator

from analect.privacy.detectors.assigned import is_uuid
from analect.privacy.detectors.matching import Found, Rule, finder, is_word, pattern, rule, text
from analect.privacy.detectors.password import classes
from analect.privacy.detectors.vendors import is_random

_JWT = r"eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,3}"
_WEBHOOK = (
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9_/\-]{20,}"
    r"|discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_\-]{40,}"
    r"|(?:[a-z0-9\-]+\.webhook|outlook)\.office\.com/webhook(?:b2)?/[A-Za-z0-9@/\-]{60,}"
)
_PEM_BEGIN = r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_PEM_BODY = r"[^\x00\-]*"
_PUTTY = r"Private-Lines: \d+\r?\n[A-Za-z0-9+/=\r\n]+"
_SCHEMES = r"(?i:bearer|token|apikey|ssws|geniekey|splunk|oauth|jwt|flyv1)"
_BEARER = rf"{_SCHEMES} [A-Za-z0-9\-._~+/]{{16,}}=*"
_BASIC = r"(?i:basic) [A-Za-z0-9+/]{8,}={0,2}"
_SIGNATURE = r"(?:[?&;](?:sig|signature|code|key|auth)|\bX-Amz-(?:Signature|Credential|Security-Token))=[A-Za-z0-9%/+_\-]{24,}={0,2}"
_COOKIES = r"(?i:cookies?)[\"']?(?:\x00:\x00|\s?[:=]\s?)[\"']?[^\x00\r\n\"'=]+=[^\x00\r\n\"']{16,}"
_COOKIE = pattern(r"=([^;,\s\\]{16,})")
_AZURE = r"(?:AccountKey|SharedAccessKey|SharedSecretValue)=[A-Za-z0-9+/]{40,}={0,2}"


def _find_pem(blob: bytes) -> Iterator[Found]:
    """From BEGIN to END inside one text; where END is missing, as far as it looks like a key."""
    position = 0
    ending = _FIND_END.search(blob)
    while (beginning := _FIND_BEGIN.search(blob, position)) is not None:
        start, position = beginning.span()
        while ending is not None and ending.start() < position:
            ending = _FIND_END.search(blob, ending.end())
        if ending is not None and blob.find(b"\0", position, ending.start()) < 0:
            position = ending.end()
        else:
            position = _FIND_BODY.match(blob, position).end()
        yield Found(start, position, text(blob, start, position).strip())


_FIND_BEGIN = pattern(_PEM_BEGIN)
_FIND_END = pattern(_PEM_END)
_FIND_BODY = pattern(_PEM_BODY)


def _check_jwt(blob: bytes, start: int, end: int) -> Found | None:
    if is_word(blob, start - 1):
        return None
    value = text(blob, start, end)
    if value.endswith(".") and value.count(".") > 2:
        value, end = value[:-1], end - 1
    return Found(start, end, value)


def _check_whole(blob: bytes, start: int, end: int) -> Found | None:
    return Found(start, end, text(blob, start, end).strip())


def _check_bearer(blob: bytes, start: int, end: int) -> Found | None:
    start = blob.index(b" ", start) + 1
    value = text(blob, start, end).rstrip(".")
    end = start + len(value)
    if not is_random(value) or classes(value) < 2 or value.count("/") > 3:
        return None
    return Found(start, end, value)


def _check_basic(blob: bytes, start: int, end: int) -> Found | None:
    start = blob.index(b" ", start) + 1
    value = text(blob, start, end)
    try:
        decoded = b64decode(value, validate=True)
    except (Base64Error, ValueError):
        return None
    return (
        Found(start, end, value)
        if b":" in decoded and decoded.isascii() and decoded.decode().isprintable()
        else None
    )


def _check_parameter(blob: bytes, start: int, end: int) -> Found | None:
    start = blob.index(b"=", start) + 1
    value = text(blob, start, end)
    return Found(start, end, value) if is_random(value) and not is_uuid(value) else None


_FIND_COOKIES = finder(_COOKIES, _check_whole)


def _find_cookies(blob: bytes) -> Iterator[Found]:
    """The values in a ``Cookie`` or ``Set-Cookie`` header that look drawn."""
    for header in _FIND_COOKIES(blob):
        for match in _COOKIE.finditer(blob, header.start, header.end):
            start, end = match.span(1)
            value = text(blob, start, end)
            if classes(value) >= 2 and len(set(value)) >= 8:
                yield Found(start, end, value)


RULES: tuple[Rule, ...] = (
    Rule("secret", _PEM_BEGIN, _find_pem),
    rule("secret", _PUTTY, _check_whole, trigger="Private-Lines: "),
    rule("secret", _WEBHOOK, _check_whole),
    rule("secret", _JWT, _check_jwt, trigger=r"eyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]"),
    rule("secret", _AZURE, _check_parameter),
    rule("secret", _BEARER, _check_bearer, trigger=_SCHEMES + r" [A-Za-z0-9\-._~+/]{16}"),
    rule("secret", _BASIC, _check_basic, trigger=r"(?i:basic) [A-Za-z0-9+/]{8}"),
    rule("secret", _SIGNATURE, _check_parameter),
    Rule("secret", r"(?i:cookies?)[\"']?(?:\x00:\x00|\s?[:=])", _find_cookies),
)
