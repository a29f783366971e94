"""What tells one set of ids from another without comparing them one by one."""

import os

from analect.model.ids import new_id
from analect.store.dropping import IdSum


def test_the_sum_is_that_of_the_last_48_bits_whatever_the_order_and_the_parts():
    ids = [new_id(1_750_000_000_000_000, os.urandom) for _ in range(1000)]
    whole = IdSum().plus(ids)
    assert whole == IdSum(1000, sum(int(one[24:], 16) for one in ids))
    assert IdSum().plus(ids[600:]).plus(ids[:600]) == whole
    assert IdSum().plus([*ids[1:], new_id(0, os.urandom)]) != whole
    assert IdSum().plus([]) == IdSum()
