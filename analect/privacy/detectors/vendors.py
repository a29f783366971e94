"""Keys and tokens in the shapes that their vendors gave them so that they can be found.

From the vendors' documentation and the public rule sets of secret scanners. Each stands between
characters of no word, and what it is made of must look drawn, not written.
"""

from __future__ import annotations

import re
from itertools import pairwise

from analect.privacy.detectors.matching import APART, Found, Rule, is_word, rule, text

_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"

# How a key begins, which is looked for in every text, and how it goes on.
_HEADED: tuple[tuple[str, str], ...] = (
    # AWS, Alibaba, Tencent, Yandex
    (r"(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA|AGPA|AIPA|ANPA|ANVA|APKA|ASCA)[A-Z0-9]{4}", r"[A-Z0-9]{12}"),
    (r"ABSK", r"[A-Za-z0-9+/]{60,}={0,2}"),
    (r"amzn\.mws\.", r"[0-9a-f]{8}-[0-9a-f\-]{27}"),
    (r"LTAI", r"[A-Za-z0-9]{12,24}"),
    (r"AKID", r"[A-Za-z0-9]{32}"),
    (r"AQVN", r"[A-Za-z0-9_\-]{34,40}"),
    # Google
    (r"AIza", r"[0-9A-Za-z_\-]{35}"),
    (r"ya29\.", r"[0-9A-Za-z_\-.]{20,}"),
    (r"GOCSPX-", r"[A-Za-z0-9_\-]{28}"),
    (r"1//0", r"[A-Za-z0-9_\-]{40,}"),
    (r"AQ\.", r"[A-Za-z0-9_\-]{40,}"),
    (r"AAAA[A-Za-z0-9_\-]{7}:APA91b", r"[A-Za-z0-9_\-]{100,}"),
    # Code and its building: GitHub, GitLab, npm, PyPI, CircleCI, Sonar, JFrog, ...
    (r"gh[pousr]_", r"[A-Za-z0-9]{30,}"),
    (r"github_pat_", r"[A-Za-z0-9_]{22,}"),
    (r"gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|oas|ffct|sbt)-", r"[A-Za-z0-9_\-.]{20,}"),
    (r"GR1348941", r"[A-Za-z0-9_\-]{20}"),
    (r"npm_", r"[A-Za-z0-9]{36}"),
    (r"pypi-Ag", r"[A-Za-z0-9_\-]{16,}"),
    (r"rubygems_", r"[a-f0-9]{48}"),
    (r"CLOJARS_", r"[a-z0-9]{60}"),
    (r"oy2", r"[a-z0-9]{43}"),
    (r"CCIPAT_", r"[A-Za-z0-9]{22}_[a-f0-9]{40}"),
    (r"bkua_", r"[a-f0-9]{40}"),
    (r"sq[uap]_", r"[a-f0-9]{40}"),
    (r"AKCp", r"[A-Za-z0-9]{60,}"),
    (r"cmVmdGtuOj", r"[A-Za-z0-9]{50,}"),
    (r"sgp_", r"(?:(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}|[A-Za-z0-9]{64})"),
    (r"dckr_", r"(?:pat|oat)_[A-Za-z0-9_\-]{20,}"),
    (r"pul-", r"[a-f0-9]{40}"),
    (r"pnu_", r"[A-Za-z0-9]{36}"),
    (r"tk-us-", r"[A-Za-z0-9_\-]{48}"),
    (r"waka_", _UUID),
    # Talking: Slack, Discord, Telegram, mail services, telephony
    (r"xox[abceoprs][\-.]", r"(?:\d-)?[A-Za-z0-9\-.]{10,}"),
    (r"xapp-", r"\d-[A-Za-z0-9\-]{10,}"),
    (r"mfa\.", r"[A-Za-z0-9_\-]{20,}"),
    (r"SG\.", r"[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{16,64}"),
    (r"SK[0-9a-f]{2}", r"[0-9a-f]{30}"),
    (r"AC[0-9a-f]{2}", r"[0-9a-f]{30}"),
    (r"key-", r"[0-9a-f]{32}"),
    (r"xkeysib-", r"[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    (r"re_", r"[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}"),
    (r"tfp_", r"[A-Za-z0-9_\-]{40,}"),
    (r"rdme_", r"[a-z0-9]{70}"),
    # Money and shops: Stripe and those after it, Square, PayPal, Shopify, ...
    (r"[spr]k_(?:live|test|prod)_", r"[A-Za-z0-9]{10,}"),
    (r"sk_", _UUID),
    (r"whsec_", r"[A-Za-z0-9+/=]{24,}"),
    (r"rzp_(?:live|test)_", r"[A-Za-z0-9]{14}"),
    (r"sq0(?:atp|csp|idp)-", r"[A-Za-z0-9_\-]{22,43}"),
    (r"EAA", r"[A-Za-z0-9_\-]{60,}"),  # Facebook too
    (r"shp(?:at|ca|pa|ss)_", r"[a-fA-F0-9]{32}"),
    (r"FLWSECK", r"(?:_TEST)?-[0-9a-fA-F]{12,}(?:-X)?"),
    (r"EZ[AT]K", r"[A-Za-z0-9]{54}"),
    (r"access-(?:sandbox|development|production)-", _UUID),
    (r"access_token\$(?:sandbox|production)\$", r"[a-z0-9]{16}\$[a-f0-9]{32}"),
    # Models: OpenAI and those after it, Anthropic, Hugging Face, ...
    (r"sk-ant-", r"[A-Za-z0-9_\-]{20,}"),
    (r"sk-(?:proj|svcacct|admin|None|or-v1|lf|service)-", r"[A-Za-z0-9_\-]{16,}"),
    (r"sk-[A-Za-z0-9]{4}", r"[A-Za-z0-9]{16,}"),
    (r"pk-lf-", r"[0-9a-f\-]{36}"),
    (r"hf_", r"[A-Za-z0-9]{30,}"),
    (r"api_org_", r"[A-Za-z]{34}"),
    (r"r8_", r"[A-Za-z0-9]{37}"),
    (r"gsk_", r"[A-Za-z0-9]{40,}"),
    (r"xai-", r"[A-Za-z0-9]{60,}"),
    (r"pplx-", r"[A-Za-z0-9]{40,}"),
    (r"tvly-", r"[A-Za-z0-9\-]{20,}"),
    (r"pcsk_", r"[A-Za-z0-9_]{40,}"),
    (r"nvapi-", r"[A-Za-z0-9_\-]{40,}"),
    (r"tgp_v1_", r"[A-Za-z0-9_\-]{40,}"),
    (r"fw_", r"[A-Za-z0-9]{22,24}"),
    (r"jina_", r"[A-Za-z0-9_\-]{50,}"),
    (r"csk-", r"[A-Za-z0-9]{40,}"),
    (r"fc-[0-9a-f]{2}", r"[a-f0-9]{30}"),
    (r"lsv2_", r"(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}"),
    (r"ls__", r"[a-f0-9]{32}"),
    # Clouds, stores, secrets
    (r"do[oprt]_v1_", r"[a-f0-9]{64}"),
    (r"dapi[0-9a-f]", r"[a-f0-9]{31}(?:-\d)?"),
    (r"hv[sbr]\.", r"[A-Za-z0-9_\-]{24,}"),
    (r"dp\.(?:pt|st|ct|sa|scim|audit)\.", r"[A-Za-z0-9_.\-]{40,}"),
    (r"pscale_", r"(?:tkn|pw|oauth)_[A-Za-z0-9_.\-]{32,}"),
    (r"sbp_", r"[a-f0-9]{40}"),
    (r"sb_(?:secret|publishable)_", r"[A-Za-z0-9_\-]{20,}"),
    (r"HRKU-", r"[A-Za-z0-9_\-]{30,}"),
    (r"v1\.0-[0-9a-f]{4}", r"[0-9a-f]{20}-[0-9a-f]{146}"),  # Cloudflare
    (r"fo1_", r"[A-Za-z0-9_\-]{40,}"),
    (r"fm[12]_", r"[A-Za-z0-9+/_\-]{40,}"),
    (r"nfp_", r"[A-Za-z0-9]{36,}"),
    (r"vc[pik]_", r"[A-Za-z0-9]{24,}"),
    (r"aio_", r"[A-Za-z0-9]{28}"),
    (r"ops_eyJ", r"[A-Za-z0-9+/_\-]{60,}={0,2}"),
    (r"AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    (r"p8e-", r"[A-Za-z0-9]{32}"),
    (r"tskey-", r"[a-z]{3,8}-[A-Za-z0-9\-]{20,}"),
    (r"v[1-4]\.local\.", r"[A-Za-z0-9_\-]{60,}"),  # PASETO
    # Watching: Grafana, New Relic, Sentry, Dynatrace, PostHog
    (r"gl(?:sa|c)_", r"[A-Za-z0-9+/=_]{32,}"),
    (r"eyJrIjoi", r"[A-Za-z0-9]{60,}={0,2}"),
    (r"NRAK-", r"[A-Z0-9]{27}"),
    (r"NRJS-", r"[a-f0-9]{19}"),
    (r"sntry[su]_", r"[A-Za-z0-9+/=_\-]{40,}"),
    (r"dt0[a-z]\d\d\.", r"[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    (r"ph[xc]_", r"[A-Za-z0-9]{40,}"),
    # Offices: Atlassian, Airtable, Linear, Notion, Figma, Postman, HubSpot, Dropbox, ...
    (r"AT[AC]TT3", r"[A-Za-z0-9_\-=]{60,}"),
    (r"ATBB", r"[A-Za-z0-9]{32}"),
    (r"pat[A-Za-z0-9]{14}\.", r"[a-f0-9]{64}"),
    (r"pat-(?:na|eu|ap)\d-", _UUID),
    (r"lin_(?:api|oauth)_", r"[A-Za-z0-9]{32,}"),
    (r"secret_", r"[A-Za-z0-9]{43}"),
    (r"ntn_", r"[A-Za-z0-9]{40,}"),
    (r"figd_", r"[A-Za-z0-9_\-]{40,}"),
    (r"PMAK-", r"[a-f0-9]{24}-[a-f0-9]{34}"),
    (r"CFPAT-", r"[A-Za-z0-9_\-]{43}"),
    (r"sl\.", r"[A-Za-z0-9_\-]{130,}"),
    (r"fio-u-", r"[A-Za-z0-9_\-]{60,}"),
    (r"[sp]k\.eyJ", r"[A-Za-z0-9_\-]{40,}\.[A-Za-z0-9_\-]{20,}"),  # Mapbox
    (r"[012]/\d{16}", r"(?:/\d{16})?:[0-9a-f]{32}"),  # Asana
    (r"AAAAAAAAAA", r"AAAAAAAAAAA[A-Za-z0-9%]{30,}"),  # Twitter
)  # fmt: skip

# Keys that show what they are further on; a trigger each.
_MARKED: tuple[tuple[str, str], ...] = (
    (r"\dQ~", r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.\-]{31,34}"),  # Azure
    (r"AZDO", r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}"),
    (r"\.atlasv1\.", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-=]{60,}"),  # Terraform
    (r"-us\d", r"[0-9a-f]{32}-us\d{1,2}"),  # Mailchimp
    (r"[0-9a-f]{4}-[0-9a-f]{8}-[0-9a-f]{8}[^0-9a-f\-]", r"[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}"),  # Mailgun
    (r"[0-9a-f]NRAL", r"[0-9a-f]{36,40}(?:FFFF)?NRAL"),  # New Relic
    (r"\d:[A-Za-z0-9_\-]{33}", r"\d{8,10}:[A-Za-z0-9_\-]{33,37}"),  # Telegram
    (r"\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27}", r"[MNO][A-Za-z0-9_\-]{23,27}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,}"),  # Discord
    (rf"{APART}s\.[A-Za-z0-9]{{24}}", r"s\.[A-Za-z0-9]{24}"),  # Vault of old
)  # fmt: skip

# Anyone's: a word that says what it is, then what was drawn.
_SAID = (
    r"[A-Za-z0-9]{0,12}[_\-]?(?:live|test|prod|production|sandbox|secret|token|pat|key|api|sk|dsn)"
    r"[_\-][A-Za-z0-9_\-]{20,}"
)
_SAID_TRIGGER = (
    r"(?:live|test|prod|production|sandbox|secret|token|pat|key|api|sk|dsn)[_\-][A-Za-z0-9_\-]{12}"
)

_PIECES = re.compile(r"[_\-]+")


def is_random(value: str) -> bool:
    """Unlike a word or a number: letters and digits mixed, or small letters and capitals more than
    in camelCase, and not the same few over and over.
    """
    if len(set(value)) < min(8, len(value) // 2) or not any(c.isalpha() for c in value):
        return False
    return any(c.isdigit() for c in value) or _changes(value) >= 0.4 * len(value)


def is_drawn(value: str) -> bool:
    """Has a long piece that no one writes: capitals, small letters and digits in one, or 32 digits
    of hex.
    """
    for piece in _PIECES.split(value):
        digits = sum(c.isdigit() for c in piece)
        if len(piece) >= 32 and digits >= 4 and all(c in "0123456789abcdef" for c in piece):
            return True
        mixed = any(c.isupper() for c in piece[1:]) and any(c.islower() for c in piece)
        if len(piece) >= 10 and digits >= 2 and mixed and _changes(piece) >= len(piece) // 3:
            return True
    return False


def _changes(piece: str) -> int:
    """How often small letters, capitals and digits take turns."""
    classes = ["0" if c.isdigit() else "a" if c.islower() else "A" for c in piece]
    return sum(a != b for a, b in pairwise(classes))


def _check_vendor(blob: bytes, start: int, end: int) -> Found | None:
    if is_word(blob, start - 1) or is_word(blob, end):
        return None  # part of a word, or longer than the vendor's keys are
    body = text(blob, start, end).rstrip("-.")
    is_all_capitals = body.isupper() and len(set(body)) >= 10
    if not (is_random(body) or is_all_capitals or len(set(body)) >= 16):
        return None
    return Found(start, start + len(body), body)


def _check_said(blob: bytes, start: int, end: int) -> Found | None:
    if is_word(blob, start - 1) or blob[start - 1 : start] in (b"/", b"-"):
        return None
    value = text(blob, start, end).rstrip("-")
    return Found(start, start + len(value), value) if is_drawn(value) else None


_VENDOR = "|".join((*(head + rest for head, rest in _HEADED), *(whole for _, whole in _MARKED)))
_TRIGGER = "|".join(
    (f"{APART}(?:{'|'.join(head for head, _ in _HEADED)})", *(mark for mark, _ in _MARKED))
)

RULES: tuple[Rule, ...] = (
    rule("secret", f"(?:{_VENDOR})", _check_vendor, trigger=_TRIGGER),
    rule("secret", _SAID, _check_said, trigger=_SAID_TRIGGER),
)
