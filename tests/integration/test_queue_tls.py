"""The queue and the cache behind TLS, with an authority of one's own."""

import pytest

from analect.cache.shared import open_shared
from analect.model.errors import EngineUnavailable
from analect.settings import Queue, Settings

pytest.importorskip("rq", reason="needs the extra `engines`")

from analect_processors.queues import JobQueues, connect
from tests.engines.faults import certificate
from tests.tls import tls_before
from tests.valkey import valkey_server


@pytest.fixture
def place(tmp_path):
    authority, *pair = certificate(tmp_path)
    with valkey_server() as valkey, tls_before(valkey.port, *pair) as port:
        yield {"url": f"rediss://127.0.0.1:{port}/0", "ca_file": authority}


def ping(queue):
    url = "postgresql://nobody@127.0.0.1:1/none"
    connection = connect(Settings(database_url=url, queue=queue))
    try:
        JobQueues(connection, "test").ping()
    finally:
        connection.close()


def test_the_queue_is_trusted_by_its_authority(place):
    ping(place)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        ping({"url": place["url"]})


def test_so_is_the_cache(place):
    shared = open_shared(place["url"], Queue(**place))
    shared.put("key", {"a": 1}, 60)
    assert shared.get("key")[0] == {"a": 1}
    shared.close()
    stranger = open_shared(place["url"], Queue(url=place["url"]))
    assert stranger.versions(["tag"]) == {}
    stranger.close()
