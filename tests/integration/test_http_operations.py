"""Health, metrics, keys, errors of the framework, logs and the description of the calls."""

from __future__ import annotations

import io
import json
import logging

import hypothesis
import pytest
import schemathesis
import structlog
from schemathesis.specs.openapi import checks as openapi_checks

from analect.access.api_keys import new_api_key
from analect.telemetry.logs import configure_logging
from tests import asking
from tests.integration.http_serving import running, settings_in

MAIL = "dora.operator@example.org"
KEY, HASH = new_api_key(lambda n: bytes(range(n)))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(settings_in(tmp_path_factory.mktemp("operations"))) as server:
        yield server


@pytest.fixture(scope="module")
def http(server):
    return server.client


def test_health_and_status(http):
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"ready": True, "reasons": []}
    status = http.get("/v1/status").json()
    assert status["store"]["records"] >= 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/records/", 404),
        ("DELETE", "/v1/records", 405),
        ("PUT", "/v1/search", 405),
    ],
)
def test_the_errors_of_the_framework_are_problems_too(http, method, path, status):
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.headers.get("allow") == ("GET, POST" if status == 405 else None)


def test_metrics_count_what_happened(http):
    http.post("/v1/records", json=[{"project": "shop", "success": False}, {"rating": 9}])
    http.get("/v1/search", params={"q": "anything"})
    http.get("/v1/records")
    text = http.get("/metrics").text
    for line in (
        'analect_stored_outcomes_total{environment="unset",outcome="error",project="shop"} 1.0',
        'analect_ingest_rejections_total{reason="invalid"} 1.0',
        'analect_search_request_seconds_count{mode="text"} 1.0',
        'analect_read_request_seconds_count{kind="list"} 1.0',
        "analect_http_inflight_bytes 0.0",
    ):
        assert line in text, line
    assert 'route="/v1/records"' in text
    assert 'analect_store_size_bytes{part="truth"}' in text
    assert 'analect_outbox_pending_entries{processor="text"}' in text


def test_every_answer_has_a_request_id_and_a_caller_may_bring_one(http):
    assert len(http.get("/healthz").headers["x-request-id"]) == 16
    brought = "0123456789abcdef0123"
    answer = http.get("/nothing", headers={"x-request-id": brought})
    assert answer.headers["x-request-id"] == brought
    answer = http.get("/nothing", headers={"x-request-id": MAIL})
    assert MAIL not in answer.headers["x-request-id"]


def test_the_page_of_calls_needs_nothing_from_elsewhere(http):
    page = http.get("/docs").text
    assert "/v1/records" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


def test_with_keys_every_call_needs_one(tmp_path):
    with running(settings_in(tmp_path, api_keys=HASH)) as server:
        document = server.client.get(
            "/openapi.json", headers={"authorization": f"Bearer {KEY}"}
        ).json()
        for path, methods in document["paths"].items():
            for method in methods:
                answer = server.client.request(method, path.replace("{", "").replace("}", ""))
                if path in {"/healthz", "/readyz"}:
                    assert answer.status_code == 200
                    continue
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["code"] == "unauthenticated"
        assert server.client.get("/docs").status_code == 401
        assert server.client.get("/nothing").status_code == 401
        wrong = {"authorization": f"Bearer {KEY}x"}
        assert server.client.get("/v1/status", headers=wrong).status_code == 401
        right = {"authorization": f"Bearer {KEY}"}
        assert server.client.post("/v1/records", json={}, headers=right).status_code == 200
        assert server.client.get("/v1/status", headers={"x-api-key": KEY}).status_code == 200
        assert server.client.get("/v1/status", headers={"x-api-key": KEY[:-1]}).status_code == 401
        assert server.client.get("/metrics", headers=right).status_code == 200


def test_metrics_may_be_open(tmp_path):
    settings = settings_in(tmp_path, api_keys=HASH, http={"open_metrics": True})
    with running(settings) as server:
        assert server.client.get("/metrics").status_code == 200
        assert server.client.get("/v1/status").status_code == 401


def test_the_access_log_has_templates_and_no_values(tmp_path):
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("debug", "json", stream=stream)
    try:
        with running(settings_in(tmp_path)) as server:
            http = server.client
            http.post("/v1/records", json={"input": MAIL, "thread_id": MAIL, MAIL: 1})
            http.post("/v1/records", content=f'{{"input":{MAIL}'.encode())
            http.get(f"/v1/threads/{MAIL}", headers={"x-request-id": MAIL})
            http.get("/v1/search", params={"q": MAIL, MAIL: MAIL})
            http.get("/v1/search", params={"q": MAIL})
            http.get(f"/{MAIL}")
            http.put(f"/v1/documents/user/{MAIL}", json={"body": MAIL, "owner": MAIL})
    finally:
        structlog.reset_defaults()
        root.handlers[:], root.level = handlers, level
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["route"] for line in requests] == [
        "/v1/records",
        "/v1/records",
        "/v1/threads/{id:path}",
        "/v1/search",
        "/v1/search",
        "none",
        "/v1/documents/{kind}/{id:path}",
    ]
    assert all({"method", "status", "ms", "request_id"} <= line.keys() for line in requests)
    assert MAIL not in stream.getvalue()
    assert "operator@" not in stream.getvalue()


def test_the_openapi_document_keeps_what_it_says(server):
    document = server.client.get("/openapi.json").json()
    del document["paths"]["/v1/tail"]  # an answer without end
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    called = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        called.add(operation.path)
        _call_often(operation)
    assert called == set(document["paths"])


def _call_often(operation):
    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def call(case):
        case.call_and_validate(
            checks=[
                schemathesis.checks.not_a_server_error,
                openapi_checks.status_code_conformance,
                openapi_checks.content_type_conformance,
                openapi_checks.response_schema_conformance,
            ],
            timeout=20,
        )

    call()


def test_an_unexpected_error_says_nothing_of_its_inside(server, monkeypatch):
    def broken(*_args):
        raise RuntimeError(MAIL)

    monkeypatch.setattr(type(server.service), "status", broken)
    answer = asking.get(f"{server.url}/v1/status")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert MAIL not in answer.text
