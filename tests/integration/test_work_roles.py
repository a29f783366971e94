"""A server of one role answers its own calls and says where the others belong."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from analect.service import AnalysisService
from analect.settings import Settings
from analect_ingest.app import create_app
from analect_ingest.roles import Role

CALLS = [
    ("POST", "/v1/records", {"input": "pelican"}, Role.INGEST),
    ("PUT", "/v1/documents/story/one", {"body": {"text": "pelican"}}, Role.INGEST),
    ("GET", "/v1/records", None, Role.QUERY),
    ("POST", "/v1/search", {"q": "pelican"}, Role.QUERY),
    ("GET", "/healthz", None, None),
    ("GET", "/v1/status", None, None),
]


@pytest.mark.parametrize("role", [Role.INGEST, Role.QUERY])
def test_a_server_answers_the_calls_of_its_role(tmp_path, role):
    settings = Settings(
        home=tmp_path / "home", keys={"ring": tmp_path / "ring"}, index={"vectors": False}
    )

    async def ask(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return [
                await client.request(method, path, json=body) for method, path, body, _ in CALLS
            ]

    with AnalysisService.open(settings) as service:
        answers = asyncio.run(ask(create_app(service, settings, role=role)))
    for (method, path, _, needs), answer in zip(CALLS, answers, strict=True):
        if needs in {None, role}:
            assert answer.is_success, (method, path, answer.text)
        else:
            assert (answer.status_code, answer.json()["code"]) == (421, "wrong_role")
