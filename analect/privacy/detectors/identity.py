"""US social security numbers (areas, groups and serials that were ever issued)."""

from __future__ import annotations

from analect.privacy.detectors.matching import (
    Found,
    Rule,
    before,
    digits,
    pattern,
    rule,
    stands_alone,
)

_DASH = r"[\-\x{2010}-\x{2015}]"
_SOURCE = rf"\d{{3}}(?:{_DASH}\d\d{_DASH}|[ .]\d\d[ .]|\x{{a0}}\d\d\x{{a0}}|\d\d)\d{{4}}"
_TRIGGER = (
    rf"\d{{3}}{_DASH}\d\d{_DASH}\d{{4}}"
    r"|(?i:ssn|social|tax|seguro|s\.s\.)[^\d\x00]*(?:\x00:\x00[^\d\x00]*)?\d{3}[ .\x{a0}]?\d\d[ .\x{a0}]?\d{4}"
)
_WORD = pattern(
    r"(?i)(?:ssn|s\.s\.n?|social|soc\.? ?sec|seguro social|taxpayer|tax id|tin\b)\D{0,32}$"
)
_OTHER = pattern(
    r"(?i)(?:part|sku|order|model|serial|invoice|item|catalog|product|p/n|\bpn|s/n|isbn|cas|lot|batch"
    r"|tracking|ticket|version)(?:[ _-]?(?:no|nr|num|number|id|code|#))?[\s.:#=\"']{0,4}$"
)


def _check(blob: bytes, start: int, end: int) -> Found | None:
    if not stands_alone(blob, start, end):
        return None
    value = digits(blob, start, end)
    area, group, serial = value[:3], value[3:5], value[5:]
    if area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000":
        return None
    context = before(blob, start)
    dashed = end - start > 9 and blob[start + 3] not in b" .\xc2"
    if _WORD.search(context) or (dashed and not _OTHER.search(context)):
        return Found(start, end, f"{area}-{group}-{serial}")
    return None


RULES: tuple[Rule, ...] = (rule("ssn", _SOURCE, _check, trigger=_TRIGGER),)
