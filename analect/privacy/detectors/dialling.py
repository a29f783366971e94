"""What is known of telephone numbers: country codes, and the words around a number."""

from __future__ import annotations

import re

# Country codes and how many digits a national number has there (ITU, rounded outward).
_COUNTRIES: dict[str, tuple[int, int]] = {
    "1": (10, 10), "7": (10, 10), "20": (8, 10), "27": (9, 9), "30": (10, 10), "31": (9, 9),
    "32": (8, 9), "33": (9, 9), "34": (9, 9), "36": (8, 9), "39": (6, 11), "40": (9, 9),
    "41": (9, 9), "43": (7, 13), "44": (9, 10), "45": (8, 8), "46": (7, 10), "47": (8, 8),
    "48": (9, 9), "49": (6, 12), "51": (8, 9), "52": (10, 11), "53": (7, 8), "54": (10, 11),
    "55": (10, 11), "56": (9, 9), "57": (8, 10), "58": (10, 10), "60": (8, 10), "61": (9, 9),
    "62": (8, 12), "63": (8, 10), "64": (8, 10), "65": (8, 8), "66": (8, 9), "81": (9, 10),
    "82": (8, 10), "84": (9, 10), "86": (9, 11), "90": (10, 10), "91": (10, 10), "92": (9, 10),
    "93": (9, 9), "94": (9, 9), "95": (7, 10), "98": (10, 10),
}  # fmt: skip
_THREE = re.compile(
    r"2(?:1[12368]|[2-5]\d|6[0-9]|9[0178])|3(?:5\d|7\d|8[0-35-79])|42[013]|50\d|59\d"
    r"|6[78]\d|69[0-2]|8(?:0[08]|5[0-9]|7[0-9]|8[0-8])|9(?:6[0-8]|7[0-9]|9[2-8])"
)

NAMES = (
    r"phones?|telephone|tele|tel|mobile|mob|cell|cellphone|cellular|fax|whatsapp|viber|sms|hotline|telefon\w*"
    r"|tél|téléphone|telephone|teléfono|telefono|telefone|tlf|tfno|tfn|telefoonnummer|telefoon|móvil|movil|celular|cellulare|telefonino"
    r"|handy|handynummer|mobil\w*|portable|gsm|cep|телефон\w*|тел|моб|电话|手机|手机号|电话号码|電話|電話番号"
    r"|携帯|携帯電話|전화|전화번호|휴대폰|핸드폰|هاتف|الهاتف|جوال|फ़ोन|फोन|मोबाइल|☎|📞|📱|msisdn|contact number|contact no|contact nr"
)

_FILLERS = (
    "numbers?|num|no|nr|is|was|ist|war|es|est|sont|at|on|to|with|me|us|him|her|them|my|the|a|an|or|und|et|y|o|and|here|via"
    "|home|work|office|mobile|cell|private|direct|line|contact|main|business|day|evening|emergency|toll|free|intl|ext"
    "|numero|nummer|mi|mon|ma|meine|mein|unter|au|em|al|il|su|please|now|back|again|anytime|today|tomorrow|tonight"
    "|str|string|value|x|p|e|tel|phone|fax|sms|whatsapp|de|do|da|del|della|lautet|auf"
)
_FILLING = rf"(?:\x00:\x00|[^\x00-\x7f]|[\s:=\-(\[\]\"'`.+/#,;|>{{}}_*?!&)]|\b(?:{_FILLERS})(?:\b|_)|number|nr)*"
CALLED = (
    rf"(?i:(?:[^a-z]|home|work|user|cell|office|mobile|contact|customer|business|employee)(?:{NAMES})"
    rf"(?:es|s)?{_FILLING}"
    r"|\b(?:call|dial|text|ring|reach|contact)(?:ing|ed)?(?: (?:me|us|him|her|it|them|back|now|out))?"
    r"(?: (?:at|on|to))?[\s:+(]{1,3}"
    r"|\b(?:my|his|her|our|their|your|the) (?:\w+ )?number(?: is|:| =)[\s:+(]{0,3}"
    r"|(?:tel|sms):)"
)
"""In front of a number: it is a telephone's."""
CALLED_BEHIND = rf"(?i: (?:is|are|es|est|ist) (?:my|the|his|her|our|their|your|mi|mon|mein|meine)(?: \w+)? (?:{NAMES}|number))"
"""The same behind a number."""
_DATE = re.compile(
    r"(?:(?:19|20)\d\d[./ -]\d{1,2}[./ -]\d{1,2}|(?:0?[1-9]|[12]\d|3[01])[./ -](?:0?[1-9]|1[0-2])[./ -](?:19|20)\d\d"
    r"|(?:0[1-9]|1[0-2])[./-](?:[0-2]\d|3[01])[./-](?:19|20)\d\d|\d\d[.-](?:19|20)\d\d[.-]\d)(?!\d{2,}[ -]\d{3})"
)


def split_country(number: str) -> tuple[str, str] | None:
    """Country code and the rest, where the code exists and the rest has a length it may have."""
    for width in (1, 2, 3):
        code = number[:width]
        lengths = _COUNTRIES.get(code) or (
            (6, 12) if width == 3 and _THREE.fullmatch(code) else None
        )
        if lengths is None:
            continue
        rest = number[width:]
        if rest.startswith("0") and code != "39":
            rest = rest[1:]  # +49 (0)30: the trunk zero is not dialled
        if not lengths[0] <= len(rest) <= lengths[1] or len(set(rest)) == 1:
            return None
        if code == "1" and (rest[0] in "01"):
            return None
        return code, rest
    return None


def is_date(value: str) -> bool:
    """Whether ``value`` begins like a date."""
    return _DATE.match(value) is not None
