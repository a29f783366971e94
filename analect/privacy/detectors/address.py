"""Network addresses: IPv4, IPv6, MAC, and user-agent strings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from analect.privacy.detectors.matching import (
    ASSIGNED,
    Found,
    Rule,
    before,
    finder,
    is_digit,
    is_word,
    pattern,
    pattern_set,
    rule,
    text,
)

_V4 = r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}"
_DEFANGED = r"(?:\[\.\]?|\(\.\)|\{\.\}|\[(?i:dot)\])"
_V4_DEFANGED = rf"\d{{1,3}}(?:(?:\.|{_DEFANGED})\d{{1,3}}){{3}}"
_V6 = rf"(?:[0-9A-Fa-f]{{0,4}}:){{2,8}}(?:{_V4}|[0-9A-Fa-f]{{1,4}})?"

# Where such a run holds no address, no part of it is one.
_V4_RUN = r"[0-9.]+"
_V6_RUN = r"[0-9A-Fa-f:]+"
_V6_TRIGGER = r"(?::[0-9A-Fa-f]{1,4}){6}|[0-9A-Fa-f]::|::[0-9A-Fa-f]"
_MAC_TRIGGER = r"(?:[:\-][0-9A-Fa-f]{2}){5}|\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}"

# What makes four numbers a version. A product token of a user agent is capitalised: Chrome/1.2.3.4
_MORE = (
    r"(?:\d+(?:\.\d+){1,4}[\s\"']{0,2}(?:,|/|&|-|\x{2013}|、|and|or|to|through|und|oder|et|ou|y|и|和)"
    r"[\s\"']{0,2}(?:and |or )?){0,4}"
)
"""Versions in front, in a list of them."""
_VERSION = (
    r"(?i)(?:(?:\b(?:versions?|versione|vers|ver|releases?|build|firmware|driver|revision|rev|patch"
    r"|abschnitt|kapitel|ziffer|absatz|anhang|chapitre|annexe|sezione|capitolo|articolo|apartado|ec|section|sec|chapter|clause|article|paragraph|appendix|annex|table|figure|fig|exercise|theorem|lemma|definition"
    r"|equation|requirement|req|since|rfc|assembly\w*|sdk|oid|fileversion"
    r"|productversion|(?:upgrad|downgrad|bump)(?:e|ed|es|s|ing)?(?: [\w@/.+\-]+)?(?: from| to)?(?: [\d.]+ to)?|chrome|chromium|firefox"
    r"|safari|python|java|jdk|jre|php|ruby|perl|android|ios|macos|oracle|db2|office|openssl|bios"
    r"|kernel|plugin|package|dotnet|acrobat|\w*_version|\w+version)|\.net"
    r"|versión|versão|sección|capítulo|artículo|версия|версии|версию|раздел\pL*|глав\pL*|пункт\pL*|版本号?|第|章节|バージョン|버전)"
    rf"(?: (?:number|no|nr))?[\s:=#\"'(\x{{ff08}}\]>.]{{0,6}}|(?:§|\b[vr])[ .]{{0,2}}|^#{{2,4}} \[?){_MORE}$"
)
# "numpy==1.26.4.0" requires a version, "ip.addr == 10.0.0.1" compares addresses.
_REQUIRED = r"(?:(?:[=~><^!]=|~>)\s?|[~^])$"
_COMPARED = (
    r"(?i)(?:ip(?:v4)?|addr(?:ess)?|hosts?|hostname|src|dst|source|dest(?:ination)?|client|server"
    r"|peer|remote|local|gateway|net(?:work)?|subnet|origin)[\"'`\])]{0,3}\s?[=!]=\s?[\"']?$"
)
_SAID = pattern_set((_VERSION, _REQUIRED, _COMPARED))
_IS_VERSION, _IS_REQUIRED, _IS_COMPARED = range(3)
_VERSION_BEHIND = re.compile(
    rb"[)\]\"'`]? ?(?:(?:(?:is|was|as|becomes) (?:now )?(?:the |a |an |our |my )?(?:\w+ )?)?(?:version|release)\b|release\b|version\b|beta\b|alpha\b|rc\d?\b|snapshot\b|hotfix\b|\(build)",
    re.IGNORECASE,
)
_PRODUCT = re.compile(rb"[A-Z][A-Za-z]*(?:/|-)$")


def _check_v4(blob: bytes, start: int, end: int) -> Found | None:
    if is_word(blob, start - 1) or is_word(blob, end):
        return None
    if blob[end : end + 1] == b"." and is_word(blob, end + 1) and not _ends(blob, end + 1):
        return None
    if (
        blob[end : end + 1] in (b"-", b"+")
        and is_word(blob, end + 1)
        and not is_digit(blob, end + 1)
    ):
        return None
    previous = blob[start - 1 : start]
    # "10.0.0.1-10.0.0.9" is a range of addresses, "libfoo-1.2.3.4" a package.
    is_range = previous == b"-" and _RANGE.search(blob[max(0, start - 18) : start]) is not None
    if previous in (b".", b"-") and is_word(blob, start - 2) and not is_range:
        return None
    value = text(blob, start, end)
    parts = value.split(".")
    if any(int(part) > 255 or (len(part) > 1 and part[0] == "0") for part in parts):
        return None
    if _is_of_a_product(blob, start, [int(part) for part in parts]) or _VERSION_BEHIND.match(
        blob, end
    ):
        return None
    if _is_heading(blob, start, end, parts):
        return None
    front = before(blob, start, 60)
    said = _SAID.Match(front) or ()
    # Versions seldom begin above 100, and only browsers' above 127.
    if _IS_VERSION in said and (int(parts[0]) < 128 or _BROWSER.search(front)):
        return None
    if _IS_REQUIRED in said and _IS_COMPARED not in said and int(parts[0]) < 100:
        return None
    return Found(start, end, value)


_BROWSER = re.compile(rb"(?i)(?:chrom|safari|firefox|edge?|opera|webkit|electron)[\w ]*[/ ]$")
_LINE_START = re.compile(rb"(?:^|[\x00\n(\[\"'])[\s#*>\-]*$")
_TITLE = re.compile(rb"[.:]? +[A-Z][a-z]+(?: [a-z]{2,}\b|\s*[\x00\n])")


def _is_heading(blob: bytes, start: int, end: int, parts: list[str]) -> bool:
    """``4.7.6.4 Introduction to stores`` at the beginning of a line: numbers of one digit."""
    return (
        all(len(part) == 1 for part in parts)
        and _TITLE.match(blob, end) is not None
        and _LINE_START.search(blob[max(0, start - 8) : start]) is not None
    )


_RANGE = re.compile(rb"\d\.\d{1,3}-$")
_IMAGE = re.compile(rb"[\w.\-]/[\w.\-]+:$")
_NAMED = re.compile(rb"[a-z0-9]:$")
_NET = re.compile(
    rb"(?i)(?:ip|ips|ipv4|addr|address|hosts?|server|dns|client|remote|src|dst|source|dest|from|to|peer|gateway|proxy|via|tcp|udp"
    rb"|net|network|subnet|local|target|bind|listen|ns|resolver|nameserver|origin)\d?:$"
)
_HOSTS = re.compile(rb"(?:ssh|scp|sftp|rsync|://)[^\x00\n]*@$")


def _is_of_a_product(blob: bytes, start: int, parts: list[int]) -> bool:
    """``Chrome/99.0.0.0`` and ``package@1.2.3.4`` are versions; ``host/10.0.0.1`` and
    ``root@10.0.0.1`` are not. Addresses that begin below 10 are rare, such versions are not.
    """
    head = blob[max(0, start - 24) : start]
    first = parts[0]
    if head.endswith(b"@"):
        return first < 10 and _HOSTS.search(head) is None
    if head.endswith(b":"):
        is_small = first < 10 and max(parts) < 64 and _NET.search(head) is None
        return (first < 10 and _IMAGE.search(head) is not None) or (
            is_small and _NAMED.search(head) is not None
        )
    if not head.endswith(b"/") or head.endswith(b"//"):
        return False
    return _PRODUCT.search(head) is not None or (first < 10 and is_word(blob, start - 2))


def _ends(blob: bytes, index: int) -> bool:
    """Whether a sentence seems to begin at ``index``, or the zone of addresses written backwards."""
    return re.match(rb"[A-Z][a-z]+[ ,]|in-addr\.arpa", blob[index : index + 24]) is not None


def _check_dashed(blob: bytes, start: int, end: int) -> Found | None:
    """``ip-10-0-0-12`` and the like, as clouds name their hosts."""
    value = text(blob, start, end).replace("-", ".")
    if is_digit(blob, end) or any(int(part) > 255 for part in value.split(".")):
        return None
    return Found(start, end, value)


def _check_defanged(blob: bytes, start: int, end: int) -> Found | None:
    """``198[.]51.100.7``, as reports of incidents write it lest somebody click it."""
    parts = re.findall(r"\d+", text(blob, start, end))
    is_plain = end - start == sum(map(len, parts)) + 3
    is_part = is_word(blob, start - 1) or is_word(blob, end)
    if is_plain or is_part or any(int(part) > 255 for part in parts):
        return None
    return Found(start, end, ".".join(parts))


def _check_v6(blob: bytes, start: int, end: int) -> Found | None:
    while end > start and blob[end - 1 : end] == b":" and blob[end - 2 : end] != b"::":
        end -= 1  # "fe80::1:" at the end of a clause
    if is_word(blob, start - 1) or is_word(blob, end):
        return None
    if blob[start - 1 : start] == b":" or (blob[end : end + 1] == b":" and is_word(blob, end + 1)):
        return None
    value = text(blob, start, end)
    if _is_code(blob, start, value):
        return None
    try:
        address = IPv6Address(value)
    except AddressValueError:
        return None
    mapped = address.ipv4_mapped
    return Found(start, end, str(mapped) if mapped else address.compressed)


def _is_code(blob: bytes, start: int, value: str) -> bool:
    """C++ and Rust paths, SQL casts, Python slices, byte-wise fingerprints: not addresses."""
    groups = [group for group in value.split(":") if group]
    if len(groups) < 2 and value != "::1" and not (len(groups) == 1 and len(groups[0]) >= 3):
        return True
    if len(groups) <= 3 and not any(c.isdigit() for c in value):
        return True
    if "::" in value and len(groups) == 2 and all(len(g) < 3 and g.isdigit() for g in groups):
        return True
    if blob[start - 1 : start] == b"[" and (
        is_word(blob, start - 2) or blob[start - 2 : start - 1] in (b")", b"]")
    ):
        return True  # names[::1]
    return len(groups) == 8 and all(len(group) == 2 for group in groups)


def _check_mac(blob: bytes, start: int, end: int) -> Found | None:
    for index, beyond in ((start - 1, start - 2), (end, end + 1)):
        if is_word(blob, index):
            return None
        if 0 <= index < len(blob) and blob[index] in b":-." and is_word(blob, beyond):
            # An octet more is a fingerprint; "mac:00:1a:…" is a label in front.
            labelled = (
                index < start
                and blob[index] in b":-"
                and _LABEL.search(blob[max(0, start - 12) : start])
            )
            if not labelled:
                return None
    value = text(blob, start, end)
    octets = "".join(c for c in value.lower() if c.isalnum())
    if len(octets) == 16 and octets[6:10] != "fffe" and not _EUI.search(before(blob, start)):
        return None  # eight bytes of anything
    if (
        "-" in value
        and octets.isdigit()
        and 1 <= int(octets[2:4]) <= 12
        and 1 <= int(octets[4:6]) <= 31
    ):
        return None  # 24-01-31-23-59-59 is a time
    if "." in value and octets.isdigit() and not _EUI.search(before(blob, start)):
        return None  # 1234.5678.9012
    return Found(start, end, ":".join(octets[i : i + 2] for i in range(0, len(octets), 2)))


def _check_called_mac(blob: bytes, start: int, end: int) -> Found | None:
    octets = "".join(c for c in text(blob, start, end).lower() if c.isalnum())
    if is_word(blob, end) or octets.isalpha() or octets.isdigit():
        return None
    return Found(start, end, ":".join(octets[i : i + 2] for i in range(0, 12, 2)))


_EUI = re.compile(rb"(?i)mac|addr|eui|ether|guid|wwn|wwpn|infiniband|zigbee|lladdr|interface")
_LABEL = re.compile(rb"(?i)(?:mac|addr|address|ether|hwaddr|lladdr|bssid)[:\-]$")
_MAC = (
    r"(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}"
    r"|(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}"
)
_MAC_CALLED = (
    r"(?:(?i:(?:\b|_)mac(?:[ _\-]?addr(?:ess)?)?|\bbssid|\bhwaddr|物理地址)|[a-z]Mac(?:Addr(?:ess)?)?)"
    r"\\?[\"']?(?:\x00:\x00| ?[:=\x{ff1a}] ?| is | )\\?[\"']?"
    r"([0-9A-Fa-f]{12}|[0-9A-Fa-f]{6}[\-:.][0-9A-Fa-f]{6}|(?:[0-9A-Fa-f]{2} ){5}[0-9A-Fa-f]{2})"
)
"""In one piece, in halves or with blanks: only where it is said to be one."""

_AGENT = (
    r"(?:Mozilla|Opera)/\d+\.\d+ ?\([^()\x00\r\n]*(?:\([^()\x00\r\n]*\)[^()\x00\r\n]*)*\)"
    r"(?: [A-Za-z][\w.\-]*/[\w.\-]+(?: \([^()\x00\r\n]*\))?| \([^()\x00\r\n]*\)| like Gecko| Mobile| Safari)*"
    r"|Dalvik/\d[\d.]* \([^()\x00\r\n]*\)"
)
_AGENT_FIELD = r"(?i:user-agent) ?[:=] ?[\"']?[A-Za-z][^\x00\r\n\"']{2,}"
_FIELD_NAME = pattern(r"(?i:user-agent) ?[:=] ?[\"']?")


def _check_agent(blob: bytes, start: int, end: int) -> Found | None:
    return Found(start, end, text(blob, start, end))


def _check_agent_field(blob: bytes, start: int, end: int) -> Found | None:
    start = _FIELD_NAME.match(blob, start).end()
    value = text(blob, start, end)
    # Prose about the header has no product with a version in it.
    return Found(start, end, value) if re.match(r"[\w.\-]+/\d", value) else None


_IP_NAME = (
    r"(?:[A-Za-z0-9_.\-]*[_.\-])?(?i:ip|ipv4|ipv6|ip_?addr|ip[_\-]?address|remote[_\-]?addr|remote[_\-]?address"
    r"|client[_.\-]?addr|client[_.\-]?address|peer[_.]?address|peer[_.]?addr|source[_.]address"
    r"|forwarded[_\-]for|client[_\-]?ip|remote[_\-]?ip|source[_\-]?ip|src[_\-]?ip|dst[_\-]?ip"
    r"|user[_\-]?ip|host[_\-]?ip|peer[_\-]?ip|real[_\-]?ip|server[_\-]?ip|connecting[_\-]ip)"
)
_AGENT_NAME = r"(?:[A-Za-z0-9_.\-]*[_.\-])?(?i:user[_.\-]?agent(?:[_.]original)?)"
_FIND_V4 = finder(_V4, _check_v4, past=_V4_RUN)
_FIND_V6 = finder(_V6, _check_v6, past=_V6_RUN)


def _named(name: str) -> str:
    return rf"\x00{name}\x00:\x00[^\x00]+"


def _value_start(blob: bytes, start: int) -> int:
    return blob.index(ASSIGNED, start) + len(ASSIGNED)


def _check_named(blob: bytes, start: int, end: int) -> Found | None:
    start = _value_start(blob, start)
    return Found(start, end, text(blob, start, end))


def _find_named_ip(blob: bytes) -> Iterator[Found]:
    """The addresses in the value of a key that says it holds one, or else all of the value."""
    for whole in _FIND_NAMED(blob):
        inner = blob[whole.start : whole.end]
        parts = [*_FIND_V4(inner), *_FIND_V6(inner)]
        for part in parts:
            yield Found(part.start + whole.start, part.end + whole.start, part.value)
        if not parts:
            yield whole


_FIND_NAMED = finder(_named(_IP_NAME), _check_named)

RULES: tuple[Rule, ...] = (
    rule(
        "user-agent",
        _named(_AGENT_NAME),
        _check_named,
        trigger=r"(?i:agent|original)\x00:\x00[^\x00]",
    ),
    rule("user-agent", _AGENT, _check_agent, trigger=r"(?:Mozilla|Opera|Dalvik)/\d"),
    rule("user-agent", _AGENT_FIELD, _check_agent_field, trigger=r"(?i:user-agent) ?[:=]"),
    Rule("ip", r"(?i:ip|ipv4|ipv6|addr|address|for)\x00:\x00[^\x00]", _find_named_ip),
    rule("mac", _MAC, _check_mac, trigger=_MAC_TRIGGER),
    rule("mac", _MAC_CALLED, _check_called_mac),
    Rule("ip", _V6_TRIGGER, _FIND_V6),
    rule("ip", _V4_DEFANGED, _check_defanged, trigger=rf"\d{_DEFANGED}\d"),
    rule(
        "ip",
        r"\b(?:ip|ec2)-(\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3})",
        _check_dashed,
        trigger=r"(?:ip|ec2)-\d{1,3}-\d",
    ),
    Rule("ip", r"\d\.\d{1,3}\.\d{1,3}\.\d", _FIND_V4),
)
