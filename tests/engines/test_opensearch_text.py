import pytest

from analect.testing.text import TextIndexContract
from tests.engines.search import AtOnce, text_index


class TestOpenSearchTextIndex(TextIndexContract):
    @pytest.fixture
    def index(self, place):
        index = AtOnce(text_index(place, purge_seconds=0.0), place)
        yield index
        index.close()
