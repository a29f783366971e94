import pytest

from analect.testing import vectors
from tests.engines.search import AtOnce, vector_index


@pytest.mark.parametrize("case", vectors.CASES, ids=lambda case: case.__name__)
def test_contract(case, place):
    case(
        lambda: AtOnce(
            vector_index(
                place, model=vectors.MODEL, dimension=vectors.DIMENSION, purge_seconds=0.0
            ),
            place,
        )
    )
