"""The reference page names every call, filter and option."""

from __future__ import annotations

import re
from pathlib import Path

from analect.model.record import NUMBER_FIELDS
from analect_ingest.questions import EQUALS, SHORT_NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text("utf-8")


def test_every_filter_is_named():
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    long_names = set(SHORT_NAMES.values())
    assert (set(EQUALS) - long_names) | set(NUMBER_FIELDS) | {"tag", "from", "to"} <= named


def test_every_call_is_named():
    from analect_ingest.server import create_app

    source = Path(create_app.__code__.co_filename).parent
    paths = set()
    for module in source.glob("*.py"):
        paths |= set(re.findall(r'"(/(?:v1/)?[a-z0-9{][^"\s]*)"', module.read_text("utf-8")))
    calls = {path.replace(":path", "") for path in paths if not path.startswith("/v1/records?")}
    assert "/v1/records" in calls
    for call in calls:
        assert call in PAGE, call
