"""API keys, tokens, passwords and private keys: what opens a door must not lie in a record."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator

from analect.privacy.detectors.matching import (
    APART,
    ASSIGNED,
    Found,
    Rule,
    before,
    is_word,
    pattern,
    rule,
    text,
)

# Prefixes that vendors gave their keys so that they can be found (their documentation, and the
# public rule sets of secret scanners). Each stands at a word's beginning.
_VENDORS = (
    r"(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA|AGPA|AIPA|ANPA|ANVA|APKA|ASCA)[A-Z0-9]{16}",  # AWS
    r"ABSK[A-Za-z0-9+/]{60,}={0,2}",  # AWS Bedrock
    r"amzn\.mws\.[0-9a-f]{8}-[0-9a-f\-]{27}",
    r"AIza[0-9A-Za-z_\-]{35}|ya29\.[0-9A-Za-z_\-.]{20,}|GOCSPX-[A-Za-z0-9_\-]{28}",  # Google
    r"1//0[A-Za-z0-9_\-]{40,}|AQ\.[A-Za-z0-9_\-]{40,}",
    r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.\-]{31,34}|[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}",  # Azure
    r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}",
    r"gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|oas|ffct|sbt)-[A-Za-z0-9_\-.]{20,}|GR1348941[A-Za-z0-9_\-]{20}",
    r"xox[abceoprs]-(?:\d-)?[A-Za-z0-9\-]{10,}|xapp-\d-[A-Za-z0-9\-]{10,}|xoxe\.xox[bp]-\d-[A-Za-z0-9]{20,}",  # Slack
    r"(?:sk|pk|rk)_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,}",  # Stripe
    r"sk-ant-[A-Za-z0-9_\-]{20,}|sk-(?:proj|svcacct|admin|None|or-v1|lf|service)-[A-Za-z0-9_\-]{16,}|pk-lf-[0-9a-f\-]{36}",
    r"sk-[A-Za-z0-9]{20,}",  # OpenAI, DeepSeek and others after it
    r"hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z]{34}",
    r"(?:SK|AC)[0-9a-f]{32}",  # Twilio
    r"SG\.[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{16,64}",  # SendGrid
    r"npm_[A-Za-z0-9]{36}|pypi-Ag[A-Za-z0-9_\-]{16,}|rubygems_[a-f0-9]{48}|CLOJARS_[a-z0-9]{60}|oy2[a-z0-9]{43}",
    r"\d{8,10}:[A-Za-z0-9_\-]{33,37}",  # Telegram
    r"[MNO][A-Za-z0-9_\-]{23,27}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,}|mfa\.[A-Za-z0-9_\-]{20,}",  # Discord
    r"key-[0-9a-f]{32}|[0-9a-f]{32}-us\d{1,2}|xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}",  # mail services
    r"sq0(?:atp|csp|idp)-[A-Za-z0-9_\-]{22,43}|EAA[A-Za-z0-9]{60,}|EAACEdEose0cBA[A-Za-z0-9]+|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    r"do[oprt]_v1_[a-f0-9]{64}|dapi[a-f0-9]{32}(?:-\d)?|dckr_(?:pat|oat)_[A-Za-z0-9_\-]{20,}",
    r"lin_api_[A-Za-z0-9]{40}|secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,}|figd_[A-Za-z0-9_\-]{40,}",
    r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}|NRAK-[A-Z0-9]{27}|NRJS-[a-f0-9]{19}|HRKU-[A-Za-z0-9_\-]{30,}",
    r"gl(?:sa|c)_[A-Za-z0-9+/=_]{32,}|sntry[su]_[A-Za-z0-9+/=_\-]{40,}|CFPAT-[A-Za-z0-9_\-]{43}",
    r"hv[sbr]\.[A-Za-z0-9_\-]{24,}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-=]{60,}|dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.\-]{40,}",
    r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.\-]{32,}|sbp_[a-f0-9]{40}|sb_(?:secret|publishable)_[A-Za-z0-9_\-]{20,}",
    r"r8_[A-Za-z0-9]{37}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{60,}|pplx-[A-Za-z0-9]{40,}|tvly-[A-Za-z0-9\-]{20,}|pcsk_[A-Za-z0-9_]{40,}|nvapi-[A-Za-z0-9_\-]{40,}|tgp_v1_[A-Za-z0-9_\-]{40,}|fw_[A-Za-z0-9]{22,24}|voyage-|jina_[A-Za-z0-9_\-]{50,}".replace(
        "voyage-|", ""
    ),
    r"AT[AC]TT3[A-Za-z0-9_\-=]{60,}|ATBB[A-Za-z0-9]{32}|pat[A-Za-z0-9]{14}\.[a-f0-9]{64}",  # Atlassian, Airtable
    r"AGE-SECRET-KEY-1[A-Z0-9]{58}|aio_[A-Za-z0-9]{28}|nfp_[A-Za-z0-9]{36,}|vc[pik]_[A-Za-z0-9]{24,}",
    r"LTAI[A-Za-z0-9]{12,24}|AKID[A-Za-z0-9]{32}|AAAAAAAAAAAAAAAAAAAAA[A-Za-z0-9%]{30,}",
    r"lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}|ls__[a-f0-9]{32}|phx_[A-Za-z0-9]{40,}|csk-[A-Za-z0-9]{40,}|fc-[a-f0-9]{32}",
    r"tskey-[a-z]{3,8}-[A-Za-z0-9\-]{20,}|sgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}|pul-[a-f0-9]{40}|bkua_[a-f0-9]{40}",
    r"CCIPAT_[A-Za-z0-9]{22}_[a-f0-9]{40}|fo1_[A-Za-z0-9_\-]{40,}|tfp_[A-Za-z0-9_\-]{40,}|v[1-4]\.local\.[A-Za-z0-9_\-]{60,}",
    r"sl\.[A-Za-z0-9_\-]{130,}|ops_eyJ[A-Za-z0-9+/_\-]{60,}|p8e-[A-Za-z0-9]{32}|fm[12]_[A-Za-z0-9+/_\-]{40,}",
)
_VENDOR = "(?:" + "|".join(_VENDORS) + ")"
_JWT = r"eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,3}"
_WEBHOOK = (
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9_/\-]{20,}"
    r"|discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_\-]{40,}"
    r"|(?:[a-z0-9\-]+\.webhook|outlook)\.office\.com/webhook(?:b2)?/[A-Za-z0-9@/\-]{60,}"
)
_PEM_BEGIN = r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_PEM_BODY = r"[^\x00\-]*"
_URL = r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://[^\x00\s/?#\"'<>`:@]*:[^\x00\s/\"'<>`]+@"
_URL_HEAD = pattern(r"[A-Za-z][A-Za-z0-9+.\-]*://")

_NAME = (
    r"(?:api[_\- ]?key|apikey|secret[_\- ]?key|secret|token|passwd|password|passphrase|passwort|contraseña|mot de passe|senha"
    r"|пароль|密码|パスワード|비밀번호|pwd|access[_\- ]?key(?:[_\- ]?id)?|account[_\- ]?key|shared[_\- ]?access[_\- ]?key|auth[_\- ]?token"
    r"|access[_\- ]?token|refresh[_\- ]?token|id[_\- ]?token|bearer[_\- ]?token|client[_\- ]?secret|private[_\- ]?key"
    r"|encryption[_\- ]?key|signing[_\- ]?key|master[_\- ]?key|session[_\- ]?key|webhook[_\- ]?secret|subscription[_\- ]?key"
    r"|credentials?|auth[_\- ]?key|app[_\- ]?key|license[_\- ]?key|x-api-key|secretaccesskey|accesskeyid)"
)
_IS = r"(?:\x00:\x00|\s{0,3}(?::=|=>|==?|:|\x{ff1a})\s{0,3}|\s(?:is|was|ist|es|est)[: ]\s?)"
_HEAD = rf"(?i:{_NAME})(?:_\w{{1,12}})?(?:\\?[\"'\]]){{0,3}}{_IS}(?:\\?[\"'`]){{0,3}}"
_ASSIGNMENT = _HEAD + r"[^\x00\s\"'`,;<>(){}\[\]\\]{6}"
_LONGEST = 256
_REST = pattern(r"[^\x00\s\"'`,;<>(){}\[\]\\]*")
_ASSIGNMENT_HEAD = pattern(_HEAD)
_BEARER = r"(?i:bearer|token) [A-Za-z0-9\-._~+/]{16,}=*"
_BASIC = r"(?i:basic) [A-Za-z0-9+/]{8,}={0,2}"
_SIGNATURE = r"[?&;](?:sig|signature|X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|code|key|auth)=[A-Za-z0-9%/+_\-]{24,}={0,2}"
_AZURE = r"(?:AccountKey|SharedAccessKey|SharedSecretValue)=[A-Za-z0-9+/]{40,}={0,2}"

_VENDOR_TRIGGER = (
    rf"{APART}(?:(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA|AGPA|AIPA|ANPA|ANVA|APKA|ASCA)[A-Z0-9]{{4}}|ABSK|amzn\.mws|AIza"
    r"|ya29\.|GOCSPX-|1//0|AQ\.|gh[pousr]_|github_pat|gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|oas|ffct|sbt)-"
    r"|GR1348941|xox[abceoprs][\-.]|xapp-|[spr]k_(?:live|test|prod)_|whsec_|pk-lf|sk-\w|hf_|api_org_"
    r"|SK[0-9a-f]{2}|AC[0-9a-f]{2}|SG\.|npm_|pypi-Ag|rubygems_|CLOJARS_|oy2|mfa\.|key-|xkeysib|sq0|EAA|shp(?:at|ca|pa|ss)_"
    r"|do[oprt]_v1|dapi[0-9a-f]|dckr_|lin_api|secret_|ntn_|figd_|PMAK|NRAK|NRJS|HRKU|gl(?:sa|c)_|sntry|CFPAT|hv[sbr]\."
    r"|dp\.[a-z]|pscale_|sbp_|sb_(?:secret|publi)|r8_|gsk_|xai-|pplx-|tvly-|pcsk_|nvapi-|tgp_v1|fw_|jina_|AT[AC]TT3|ATBB"
    r"|pat[A-Za-z0-9]{14}\.|AGE-SEC|aio_|nfp_|vc[pik]_|LTAI|AKID|AAAAAAAAAA|sl\.|ops_eyJ|p8e-|fm[12]_"
    r"|lsv2_|ls__|phx_|csk-|fc-[0-9a-f]{2}|tskey-|sgp_|pul-|bkua_|CCIPAT_|fo1_|tfp_|v[1-4]\.local\.)"
    r"|\dQ~|AZDO|\.atlasv1\.|-us\d|\d:[A-Za-z0-9_\-]{33}|\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27}"
)
_ASSIGNMENT_TRIGGER = (
    r"(?i:key|key.?id|secret|token|passwd|password|passphrase|passwort|contraseña|mot de passe|senha|пароль|密码|パスワード"
    r"|비밀번호|pwd|credentials?|keyid)(?:_\w{1,12})?[\\\"'\]]*(?:\x00:\x00|\s?(?::=|=>|==?|:|\x{ff1a})|\s(?:is|was|ist|es|est)[: ])"
    r"[^\x00]"
)
_URL_TRIGGER = r"://[^\x00\s/\"'<>`@]*:[^\x00\s/\"'<>`]*@"

_PLACEHOLDER = re.compile(
    r"(?:your|(?:my|the|some)[_\- ]|example|sample|dummy|test|changeme|change[_-]me|replace|insert|placeholder|redacted|xxx+|\*\*\*|\.\.\.|todo"
    r"|none$|null$|true$|false$|undefined|env\b|os\.|process\.|config\.|settings\.|self\.|this\.|request\.|secrets?\.|vars?\.|\$|%|@|\{)",
    re.IGNORECASE,
)
# A name, a call's object, a path: code and configuration that speak of a secret, not the secret.
_CODE = re.compile(
    r"[A-Za-z_]+\d{0,2}(?:\.[A-Za-z_]+\d{0,2})+$|_[A-Z][A-Za-z]+$|[A-Za-z]+(?:[_\-][A-Za-z]+)+\d?$|/[\w./\-]+$|https?:"
    r"|[a-z0-9_.\-]+(?:/[a-z0-9_.\-]+)+$"
)
# In the full name of a .NET assembly.
_PUBLIC = b"PublicKeyToken="
_TYPE = re.compile(r"[A-Z]+\d{1,2}(?:[A-Z][a-z]{2,}){2,}$")
_NEXT_PARAMETER = re.compile(r"&\w+=")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$", re.IGNORECASE)
_PASSWORD = re.compile(r"pass|pwd|contrase|senha|пароль|密码|パスワード|비밀번호", re.IGNORECASE)


def _classes(value: str) -> int:
    """How many of small letters, capitals, digits and other characters occur."""
    return (
        any(c.islower() for c in value)
        + any(c.isupper() for c in value)
        + any(c.isdigit() for c in value)
        + any(not c.isalnum() for c in value)
    )


def _is_random(value: str) -> bool:
    """Unlike a word or a number: letters and digits mixed, and not the same few over and over."""
    has_digit = any(c.isdigit() for c in value)
    has_letter = any(c.isalpha() for c in value)
    return has_digit and has_letter and len(set(value)) >= min(8, len(value) // 2)


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


def _check_vendor(blob: bytes, start: int, end: int) -> Found | None:
    if is_word(blob, start - 1):
        return None
    value = text(blob, start, end)
    if is_word(blob, end):
        return None  # longer than the vendor's keys are
    body = value.rstrip("-.")
    end -= len(value) - len(body)
    return Found(start, end, body) if _is_random(body) or len(set(body)) >= 16 else None


def _check_jwt(blob: bytes, start: int, end: int) -> Found | None:
    if is_word(blob, start - 1):
        return None
    value = text(blob, start, end)
    if value.endswith(".") and value.count(".") > 2:
        value, end = value[:-1], end - 1
    return Found(start, end, value)


def _check_whole(blob: bytes, start: int, end: int) -> Found | None:
    return Found(start, end, text(blob, start, end).strip())


def _check_url(blob: bytes, start: int, end: int) -> Found | None:
    start = _URL_HEAD.match(blob, start).end()
    value = text(blob, start, end - 1)
    if any(
        mark in value for mark in ("${", "{{", "$(", "%s", "{user", "{pass")
    ) or value.startswith("{"):
        return None  # a template holds no secret
    return Found(start, end - 1, value)


def _check_assignment(blob: bytes, start: int, end: int) -> Found | None:
    found = _judge_assignment(blob, start, end)
    if found is None or found.end - found.start < _LONGEST:
        return found
    end = _REST.match(blob, found.end).end()
    return Found(found.start, end, text(blob, found.start, end))


def _judge_assignment(blob: bytes, start: int, end: int) -> Found | None:
    """Looks at the first ``_LONGEST`` bytes of a value, so that many refusals stay cheap."""
    head = _ASSIGNMENT_HEAD.match(blob, start)
    name = text(blob, start, head.end())
    start = head.end()
    end = _REST.match(blob, end, end + _LONGEST).end()
    value = text(blob, start, end).rstrip(".:")
    value = _NEXT_PARAMETER.split(value)[0]
    end = start + len(value.encode())
    if (
        before(blob, start).endswith(_PUBLIC)
        or _PLACEHOLDER.match(value)
        or blob[end : end + 1] in (b"(", b"[", b"{")
    ):
        return None
    if _CODE.match(value) or _UUID.match(value):
        return Found(start, end, value) if _UUID.match(value) and "key" in name.lower() else None
    is_assigned = (" is" not in name and ":" not in name) or ASSIGNED.decode() in name
    if _PASSWORD.search(name):
        is_strong = _classes(value) >= 3 or any(c.isdigit() for c in value)
        return Found(start, end, value) if is_strong else None
    enough = 12 if is_assigned else 16
    if len(value) < enough or not _is_random(value) or _TYPE.match(value):
        return None
    return Found(start, end, value)


def _check_bearer(blob: bytes, start: int, end: int) -> Found | None:
    start = blob.index(b" ", start) + 1
    value = text(blob, start, end).rstrip(".")
    end = start + len(value)
    if not _is_random(value) or _classes(value) < 2 or value.count("/") > 3:
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
    return Found(start, end, value) if _is_random(value) and not _UUID.match(value) else None


RULES: tuple[Rule, ...] = (
    Rule("secret", _PEM_BEGIN, _find_pem),
    rule("credentials", _URL, _check_url, trigger=_URL_TRIGGER),
    rule("secret", _WEBHOOK, _check_whole),
    rule("secret", _JWT, _check_jwt, trigger=r"eyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]"),
    rule("secret", _VENDOR, _check_vendor, trigger=_VENDOR_TRIGGER),
    rule("secret", _AZURE, _check_parameter),
    rule("secret", _BEARER, _check_bearer, trigger=r"(?i:bearer|token) [A-Za-z0-9\-._~+/]{16}"),
    rule("secret", _BASIC, _check_basic, trigger=r"(?i:basic) [A-Za-z0-9+/]{8}"),
    rule("secret", _SIGNATURE, _check_parameter),
    rule("secret", _ASSIGNMENT, _check_assignment, trigger=_ASSIGNMENT_TRIGGER),
)
