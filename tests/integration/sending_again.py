"""Records that were deleted by policy and sent again, before and after the indexes heard of it."""

import time

from analect.lifecycle.retention.loading import parse_policy
from analect.model.ids import new_id
from analect.model.query import SearchRequest
from analect.model.record import Draft

DAY = 86_400_000_000
TASKS_GO = {"name": "t", "selector": {"kinds": ["task"]}, "hotDays": 90, "then": "delete"}


AT = time.time_ns() // 1000 - 300 * DAY


def aged(count, **more):
    """Drafts of three hundred days ago; the same ids each time."""
    return [
        Draft(
            id=new_id(AT + n * 1000, lambda size, n=n: n.to_bytes(size, "big")),
            thread_id="one",
            **{"kind": "task", "input": f"quince number{n}", **more},
        )
        for n in range(count)
    ]


def deleted_by_policy(service):
    policy = parse_policy({"rules": [TASKS_GO]})
    return service.retention.run([policy], lambda _done, _total: None).deleted


def words_of(service, word):
    return sorted(hit.record.id for hit in service.search(SearchRequest(word)).items)


def what_is_sent_again_stays_found(service, refresh=lambda: None):
    """Those of six that are sent again: before the deletion is processed, and after."""
    ids = service.ingest(aged(6)).ids
    service.ingest(
        [Draft(occurred_at=AT + 9_000_000, input="stays")]
    )  # its month is not dropped as a whole
    service.process()
    assert deleted_by_policy(service) == 6
    service.ingest(aged(2))
    # The same id with other content: what was deleted is not found by its words any more.
    service.ingest(aged(3, input="medlar")[2:])
    service.process()
    service.ingest(aged(4)[3:])
    service.process()
    refresh()
    assert words_of(service, "quince") == sorted([*ids[:2], ids[3]])
    assert words_of(service, "medlar") == [ids[2]]
    for name in service.status()["indexes"]:
        report = service.verify(name)
        assert report.clean, (name, report)
        assert report.indexed == 5
