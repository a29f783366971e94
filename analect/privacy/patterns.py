"""The built-in rules, the more telling first: where two findings overlap, the earlier rule wins."""

from __future__ import annotations

from analect.privacy.detectors import (
    address,
    assigned,
    credentials,
    email,
    identity,
    payment,
    phone,
    secret,
    vendors,
)
from analect.privacy.detectors.matching import Rule

RULES: tuple[Rule, ...] = (
    *credentials.RULES,
    *secret.RULES,
    *vendors.RULES,
    *assigned.RULES,
    *email.RULES,
    *payment.RULES,
    *address.RULES,
    *identity.RULES,
    *phone.RULES,
)

KINDS: tuple[str, ...] = tuple(dict.fromkeys(rule.kind for rule in RULES))
