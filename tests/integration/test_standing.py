"""What a dispatcher says of its engines while one of them hangs."""

from __future__ import annotations

import socket

import pytest

from analect.service import AnalysisService
from analect.service.finding import wait_until
from analect.telemetry.patience import Patience

pytest.importorskip("rq", reason="needs the extra `engines`")

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from analect_processors.queues import JobQueues
from analect_processors.standing import standing
from tests.valkey import valkey_server


def test_a_queue_that_hangs_is_not_waited_for(service: AnalysisService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        # Asked once a question: pauses between its own attempts would outlast each look below.
        once = Retry(NoBackoff(), 0)
        connection = Redis(port=hangs.getsockname()[1], socket_timeout=60, retry=once)
        patience: Patience[dict[str, object]] = Patience(0.1)
        found = standing(service, JobQueues(connection, "analect"), patience)
        assert found["engines"]["queue"]["state"] == "unavailable"
        assert "said nothing within 0.1 s; see queue.url" in found["engines"]["queue"]["message"]
        assert found["engines"]["database"] == found["engines"]["search"] == {"state": "ok"}
        assert "queues" not in found
        hangs.close()
        assert wait_until(
            lambda: (
                "does not answer"
                in standing(service, JobQueues(connection, "analect"), patience)["engines"][
                    "queue"
                ]["message"]
            ),
            20.0,
        )
        connection.close()


def test_a_queue_that_answers_is_told_whole(service: AnalysisService) -> None:
    with valkey_server() as server, Redis(port=server.port) as connection:
        found = standing(service, JobQueues(connection, "analect"), Patience(60.0))
    assert found["engines"]["queue"] == {"state": "ok"}
    assert found["queues"].keys() == found["busy"].keys() == {"text", "vectors", "graph"}
