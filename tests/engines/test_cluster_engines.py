"""The whole data plane, as processes on real servers: any of them is killed while records flow, and
in the end every record is in the truth once and in every index once.
"""

from __future__ import annotations

import os
import random
from contextlib import ExitStack

import pytest

from analect.service import AnalysisService
from analect.settings import Settings
from tests import asking
from tests.engines import graphs
from tests.engines.search import refresh

pytest.importorskip("rq", reason="needs the extra `engines`")

from tests.integration.clusters import (
    Cluster,
    Flow,
    nothing_lost,
    restart_at_once,
    under_faults,
)
from tests.valkey import valkey_server

LONG = os.environ.get("ANALECT_FAULT_ROUNDS") == "long"
RECORDS = 20_000 if LONG else 400
ROUNDS = 8 if LONG else 1


@pytest.fixture
def cluster(tmp_path, own_postgres, place, neo4j):
    url = own_postgres.get_uri().replace("postgresql://", "postgresql+psycopg://")
    with ExitStack() as stack:
        servers = [stack.enter_context(valkey_server())]
        port = servers[0].port

        def replace():
            """The queue's server ends with all it holds, and another one takes its place."""
            servers[-1].stop()
            servers.append(stack.enter_context(valkey_server(port)))

        cluster = Cluster(tmp_path, url, f"redis://127.0.0.1:{port}/0")
        cluster.lose_queue = replace
        cluster.values["search"] = {"url": place.url, "prefix": place.prefix}
        graph = graphs.fresh_settings(neo4j)
        cluster.values["graph"] = graph
        cluster.environment |= {
            "ANALECT_GRAPH__URL": graph.url,
            "ANALECT_GRAPH__NAME": graph.name,
            "ANALECT_GRAPH__PASSWORD": graph.password.get_secret_value(),
            "ANALECT_SEARCH__URL": place.url,
            "ANALECT_SEARCH__PREFIX": place.prefix,
        }
        yield cluster
        cluster.close()


@pytest.mark.faults
@pytest.mark.timeout(600 if not LONG else 3600)
def test_any_process_and_any_server_may_die_while_records_flow(
    cluster, own_postgres, opensearch, neo4j, place
):
    chance = random.Random(11)
    kinds = [("work", "text"), ("dispatch",), ("work", "graph"), ("dispatch",)]
    running, again = cluster.crew(*kinds)

    def engine(server):
        server.kill()
        server.start()

    with AnalysisService.open(Settings(**cluster.values)) as service:
        flow = Flow(service, RECORDS)
        faults = [cluster.lose_queue, lambda: restart_at_once(own_postgres)]
        faults += [lambda: engine(opensearch), lambda: engine(neo4j)]
        faults += [lambda n=n: again(n) for n in range(2)]
        under_faults(flow, faults, ROUNDS, chance)
        opensearch.wait()
        neo4j.wait()
        refresh(place)
        nothing_lost(service, flow.acked)
    leaders = [asking.get(f"{running[n].url}/v1/status").json() for n in (1, 3)]
    for one in leaders:
        assert {engine["state"] for engine in one["engines"].values()} == {"ok"}
        assert set(one["engines"]) == {"database", "queue", "search", "graph"}
