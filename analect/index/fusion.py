"""Several ranked lists made one."""

from __future__ import annotations

from collections.abc import Sequence

from analect.model.ids import RecordId

DAMPING = 60
"""How much the first ranks stand out; the value of the paper below, good over many collections."""


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[RecordId]], damping: int = DAMPING
) -> list[tuple[RecordId, float]]:
    """Fuse ranked lists, each best first: an id scores the sum of 1 / (damping + its rank).

    Only ranks count, so lists whose scores cannot be compared (BM25, cosine) can be fused. An id
    that occurs twice in a list counts at its better rank. Reference: Cormack, Clarke, Buettcher,
    "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods", 2009.

    Returns:
        (id, score), best first by (score descending, id descending).
    """
    scores: dict[RecordId, float] = {}
    for ranking in rankings:
        for rank, record_id in enumerate(dict.fromkeys(ranking), 1):
            scores[record_id] = scores.get(record_id, 0.0) + 1.0 / (damping + rank)
    return sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)
