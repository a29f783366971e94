from hypothesis import given
from hypothesis import strategies as st

from analect.index.fusion import reciprocal_rank_fusion
from analect.model.ids import RecordId

A, B, C = (RecordId(letter) for letter in "abc")


def test_an_id_in_both_lists_beats_one_at_the_top_of_a_single_list():
    fused = reciprocal_rank_fusion([[A, B], [C, B]])
    assert fused[0] == (B, 2 / 62)
    assert {id_ for id_, _ in fused[1:]} == {A, C}


def test_ties_go_to_the_newer_id():
    assert [id_ for id_, _ in reciprocal_rank_fusion([[A], [C], [B]])] == [C, B, A]


def test_a_repeated_id_counts_once_at_its_better_rank():
    assert reciprocal_rank_fusion([[A, B, A]]) == [(A, 1 / 61), (B, 1 / 62)]


def test_nothing_fuses_to_nothing():
    assert reciprocal_rank_fusion([[], []]) == []


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), max_size=4))
def test_every_id_comes_out_once_and_the_order_of_the_lists_does_not_matter(lists):
    fused = reciprocal_rank_fusion(lists)
    assert {id_ for id_, _ in fused} == {id_ for one in lists for id_ in one}
    assert len(fused) == len({id_ for id_, _ in fused})
    backwards = reciprocal_rank_fusion(lists[::-1])
    assert sorted(id_ for id_, _ in backwards) == sorted(id_ for id_, _ in fused)
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)
