"""The servers that the other tests stand on."""

import json
import urllib.request

from tests.engines.opensearch.server import VERSION


def _get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_it_is_a_real_opensearch_with_vectors(opensearch):
    told = _get(opensearch.url)
    assert told["version"]["number"] == VERSION
    plugins = _get(f"{opensearch.url}/_cat/plugins?format=json")
    assert "opensearch-knn" in {plugin["component"] for plugin in plugins}
