"""E-mail addresses, internationalised ones (RFC 6531) included."""

from __future__ import annotations

import re
from html import unescape
from unicodedata import normalize
from urllib.parse import unquote

from analect.privacy.detectors.matching import Found, Rule, is_word, rule, text

# Any character beyond ASCII at first, for RE2's sake; what is no letter is cut off afterwards.
_BEYOND = r"\x{80}-\x{10ffff}"
_LOCAL = rf"[A-Za-z0-9_{_BEYOND}](?:[A-Za-z0-9._%+'&\-{_BEYOND}]*[A-Za-z0-9_%+\-{_BEYOND}])?"
_LABEL = rf"[A-Za-z0-9{_BEYOND}](?:[A-Za-z0-9\-{_BEYOND}]*[A-Za-z0-9{_BEYOND}])?"
_TLD = rf"(?:xn--[A-Za-z0-9\-]+[A-Za-z0-9]|[A-Za-z]{{2,24}}|[{_BEYOND}]{{2,24}})"
_SOURCE = rf"{_LOCAL}@(?:{_LABEL}\.)+{_TLD}"
# As it stands in a URL.
_QUOTED = r"[A-Za-z0-9](?:[A-Za-z0-9._+\-]|%2[Bb])*%40(?:[A-Za-z0-9\-]+\.)+[A-Za-z]{2,24}"
# RFC 5321's quoted form, and what people write lest machines read it.
_IN_QUOTES = rf"\"[^\"@\x00\r\n\\]{{1,64}}(?:@[^\"@\x00\r\n\\]{{1,64}})?\\?\"@(?:{_LABEL}\.)+{_TLD}"
_AT = r"(?:\x{ff20}|\x{fe6b}|&#(?:64|[xX]40);|&commat;|\\u0040|\s?[\[({<](?i:at|ät|arroba|@)[\])}>]\s?)"
_DOT = r"(?:\.|\x{3002}|\x{ff0e}|\x{ff61}|\s?[\[({<](?i:dot|punkt|point|punto|\.)[\])}>]\s?)"
_VEILED = rf"[A-Za-z0-9](?:(?:{_DOT})?[A-Za-z0-9_+\-])*(?:{_AT})[A-Za-z0-9\-]+(?:{_DOT}[A-Za-z0-9\-]+)*{_DOT}[A-Za-z]{{2,24}}"
_VEILED_TRIGGER = r"[\x{ff20}\x{fe6b}][A-Za-z0-9]|&#(?:64|[xX]40);|&commat;|\\u0040|[A-Za-z0-9]\s?[\[({<](?i:at|ät|arroba|@)[\])}>]"
# A full stop of Chinese and Japanese, where only a dot can be meant.
_WIDE_DOT = r"[A-Za-z0-9][A-Za-z0-9._+\-]*@[A-Za-z0-9\-]+(?:\x{3002}|\x{ff0e}|\x{ff61})(?:com|net|org|co|cn|jp|edu|gov|io|de)"
_TRIGGER = r"@[^\x00-,/:-@\[-`{-\x7f]*\.[^\x00-@\[-`{-\x7f]"

# Scripts written without blanks between words: a change between them and ASCII is a word's end.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
)
_AFTER_UNSPACED = re.compile(rf".*[{_UNSPACED}](?=[\x00-\x7f])", re.DOTALL)
_FILES = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "bmp",
        "ico",
        "css",
        "js",
        "mjs",
        "ts",
        "tsx",
        "jsx",
        "json",
        "html",
        "htm",
        "xml",
        "yml",
        "yaml",
        "txt",
        "pdf",
        "exe",
        "dll",
        "dylib",
        "jar",
        "war",
        "whl",
        "gz",
        "tgz",
        "bz2",
        "rpm",
        "deb",
        "csv",
        "parquet",
        "lock",
        "toml",
        "ini",
        "cfg",
        "cpp",
        "hpp",
        "zip",
        "rb",
        "service",
        "socket",
        "timer",
        "target",
        "mount",
        "slice",
        "scope",
        "device",
        "swap",
        "wasm",
        "map",
        "scss",
        "sass",
        "less",
        "vue",
        "md5",
        "sha256",
    ]
)
_COMMON = frozenset(["com", "org", "net", "edu", "gov", "io", "co", "de", "fr", "uk", "cn"])
_LABELS_OF_CODE = frozenset(["this", "super", "return", "break", "continue"])
_RETINA = re.compile(r"@[1-4](?:\.\d)?x\.", re.ASCII)


_NO_LETTER = re.compile(r"[^\w.%+'&\-]")


def _check(blob: bytes, start: int, end: int) -> Found | None:
    value = text(blob, start, end)
    local, _, domain = value.rpartition("@")
    local = _NO_LETTER.split(local)[-1]
    glued = _AFTER_UNSPACED.match(local)
    local = local[glued.end() if glued else 0 :].lstrip(".'&-")
    kept = _NO_LETTER.split(domain)[0].rstrip(".-")
    if blob[start - 1 : start] == b"\\" and local[:1] in ("n", "r", "t") and len(local) > 1:
        local = local[1:]  # the escape of a line's end in front
    if not local or "." not in kept:
        return None
    end -= len(domain.encode()) - len(kept.encode())
    start = end - len(f"{local}@{kept}".encode())
    labels = kept.split(".")
    if labels[-1][0].isupper() and labels[-1][1:].islower() and labels[-2].lower() in _COMMON:
        # "… bob@example.com.Then": the next sentence is no part of the domain.
        end -= len(labels.pop().encode()) + 1
    ending = labels[-1].lower()
    following = blob[end : end + 1]
    is_code = (
        ending in _FILES
        or local.lower() in _LABELS_OF_CODE
        or following == b"("
        or sum(label.isdigit() for label in labels) > 1
        or _RETINA.search(value) is not None
        # git@host:owner/name is an address of a repository
        or (local.lower() in ("git", "hg", "svn") and following in (b":", b"/"))
        or (local.isascii() and is_word(blob, start - 1))
    )
    if is_code:
        return None
    normal = normalize("NFC", f"{local}@{'.'.join(labels)}").lower()
    return Found(start, end, normal)


def _check_quoted(blob: bytes, start: int, end: int) -> Found | None:
    if blob[start - 1 : start] == b"%":
        start += 2  # the digits of the escape in front: "%3Dbob%40example.com"
    elif is_word(blob, start - 1):
        return None
    value = unquote(text(blob, start, end)).lower()
    if value.startswith("@") or value.rpartition(".")[2] in _FILES:
        return None
    return Found(start, end, value)


def _check_in_quotes(blob: bytes, start: int, end: int) -> Found | None:
    return Found(start, end, text(blob, start, end).replace("\\", "").lower())


def _check_veiled(blob: bytes, start: int, end: int) -> Found | None:
    if is_word(blob, start - 1) or is_word(blob, end):
        return None
    plain = _A_DOT.sub(".", _AN_AT.sub("@", normalize("NFKC", unescape(text(blob, start, end)))))
    if plain.rpartition(".")[2].lower() in _FILES:
        return None
    return Found(start, end, plain.lower())


_AN_AT = re.compile(r"\s?[\[({<](?:at|ät|arroba|@)[\])}>]\s?|\\u0040", re.IGNORECASE)
_A_DOT = re.compile(r"\s?[\[({<](?:dot|punkt|point|punto|\.)[\])}>]\s?|\u3002", re.IGNORECASE)

RULES: tuple[Rule, ...] = (
    rule("email", _SOURCE, _check, trigger=_TRIGGER),
    rule("email", _IN_QUOTES, _check_in_quotes, trigger=r"\"@[A-Za-z0-9]"),
    rule("email", _VEILED, _check_veiled, trigger=_VEILED_TRIGGER),
    rule("email", _WIDE_DOT, _check_veiled, trigger=r"@[A-Za-z0-9\-]+[\x{3002}\x{ff0e}\x{ff61}]"),
    rule("email", _QUOTED, _check_quoted, trigger=r"[A-Za-z0-9]%40[A-Za-z0-9]"),
)
