"""Which server answers which call."""

from __future__ import annotations

import pytest

from analect_ingest.roles import Role

WRITES = [
    ("POST", "/v1/records"),
    ("POST", "/v1/records/0/feedback"),
    ("PUT", "/v1/documents/user/ada"),
    ("DELETE", "/v1/documents/user/ada"),
]
READS = [
    ("GET", "/v1/records"),
    ("GET", "/v1/tail"),
    ("POST", "/v1/search"),
    ("HEAD", "/v1/documents/user/ada"),
]
OWN = [("GET", path) for path in ("/v1/status", "/healthz", "/readyz", "/metrics", "/docs")]


@pytest.mark.parametrize(("method", "path"), WRITES + READS + OWN)
def test_a_call_is_for_one_role_or_for_both(method, path):
    own = (method, path) in OWN
    assert Role.ALL.serves(method, path)
    assert Role.INGEST.serves(method, path) is (own or (method, path) in WRITES)
    assert Role.QUERY.serves(method, path) is (own or (method, path) in READS)
