"""Kubernetes quantities in the form that the API server gives back."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4, "Pi": 1024**5}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


def canonical(text: str | int) -> str:
    """``1000m`` as ``1``, ``1024Mi`` as ``1Gi``, ``0.5`` as ``500m``: the largest unit of the
    same family that leaves a whole number. What is no quantity stays as it is, for the API server
    to refuse.
    """
    found = _FORM.fullmatch(str(text))
    if found is None:
        return str(text)
    number, unit = Decimal(found[1]), found[2] or ""
    if unit in _BINARY:
        whole = number * _BINARY[unit]
        for name, size in reversed(_BINARY.items()):
            if whole and whole % size == 0:
                return f"{int(whole / size)}{name}"
        return _plain(whole)
    value = number / 1000 if unit == "m" else number * _DECIMAL.get(unit, 1)
    for name, size in reversed(_DECIMAL.items()):
        if value and value % size == 0:
            return f"{int(value / size)}{name}"
    return _plain(value)


def _plain(value: Decimal) -> str:
    if value == value.to_integral_value():
        return str(int(value))
    thousandths = (value * 1000).to_integral_value()
    return f"{int(thousandths)}m"
