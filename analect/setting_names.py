"""Variables that were meant for Analect and name no setting of it.

Not every ``ANALECT_*`` is ours to refuse: the client, the operator and tests have their own, and
Kubernetes tells pods of each Service called ``analect…`` in variables that begin so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

OF_OTHERS = ("CONFIG", "URL", "API_KEY", "FAULT_ROUNDS")
"""Names behind the prefix that are read elsewhere."""
_OF_OTHERS_PREFIXES = ("OPERATOR_", "TEST_")
_OF_SERVICES = re.compile(
    r"(?:\w*_)?(?:SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR)?)"
)
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")
_NEAR = 0.8
"""How alike two names are, as :mod:`difflib` counts, when one is taken for the other."""


def misspelt(environ: Mapping[str, str], prefix: str, known: Iterable[str]) -> dict[str, str]:
    """Variables that look like one of ``known`` (with the prefix, as a shell has it) and are none,
    each with the one it looks like.

    Who writes two underscores means a setting; without them a name must be close to one.
    """
    names = sorted(known)
    # One underscore in place of two is the likeliest slip of all.
    plain = {name.replace("__", "_"): name for name in names}
    groups = {name.split("__")[0] for name in names}
    found: dict[str, str] = {}
    for variable, value in environ.items():
        name = variable.removeprefix(prefix)
        if name == variable or not value or _of_others(name, value):
            continue
        if name.split("__")[0] in groups:
            continue  # a name within a group is looked at by what reads the group
        near = get_close_matches(name.replace("__", "_"), plain, n=1, cutoff=_NEAR)
        if near or "__" in name:
            found[variable] = prefix + plain[near[0]] if near else ""
    return found


def _of_others(name: str, value: str) -> bool:
    return (
        name in OF_OTHERS
        or name.startswith(_OF_OTHERS_PREFIXES)
        or _OF_SERVICES.fullmatch(name) is not None
        or (name.endswith("PORT") and _SERVICE_ADDRESS.match(value) is not None)
    )
