import pytest

from analect.index.text.expression import parse
from analect.index.text.matching import matches

TEXT = "Payment failed with ERR_CONN_42; 我们在中国喝水"


@pytest.mark.parametrize(
    "query",
    [
        "payment", "PAYMENT failed", '"payment failed"', "pay*", "err_conn", "payment -refund",
        "refund OR failed", "(refund OR payment) with", "中国", "水", '"在中国喝"',
    ],
)  # fmt: skip
def test_it_matches(query):
    assert matches(parse(query), TEXT)


@pytest.mark.parametrize(
    "query",
    ["refund", "payment refund", '"failed payment"', "ref*", "payment -failed", "国中", "conn_err"],
)
def test_it_does_not_match(query):
    assert not matches(parse(query), TEXT)
