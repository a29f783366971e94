"""A store that is ReadOnly or Stopped: the database refuses what is new, from whomever it comes."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from sqlalchemy import text

from analect.model.errors import StoreUnavailable
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.store import fence
from analect.store.engine import open_engine, write_transaction
from tests.integration.commands import Commands


@pytest.fixture
def truth(settings):
    """The database of the settings, past the service."""
    engine = open_engine(settings.database_url.get_secret_value())
    yield engine
    engine.dispose()


@pytest.mark.parametrize("mode", ["ReadOnly", "Stopped"])
def test_nothing_new_comes_in_and_all_else_goes_on(service, truth, mode):
    kept = service.ingest([Draft(input="a pelican", session_id="s")], wait_indexed=20)
    service.put_document("story", "s1", {"title": "once"})
    assert fence.set_mode(truth, mode) == "Active"
    with pytest.raises(StoreUnavailable, match="takes no writes") as refused:
        service.ingest([Draft(input="another pelican")])
    assert refused.value.retry_after == 30
    with pytest.raises(StoreUnavailable, match="takes no writes"):
        service.put_document("story", "s1", {"title": "twice"})
    assert service.get(kept.ids[0]).input == "a pelican"
    service.rebuild("text")
    assert service.erase("session", "s").state == "final"
    assert fence.set_mode(truth, "Active") == mode
    assert not service.ingest([Draft(input="another pelican")]).rejected


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_what_was_under_way_is_waited_for(engine):
    """On SQLite there is one writer at a time."""
    row = text(
        "INSERT INTO documents (kind, id, version, key_id, body, created_at, updated_at)"
        " VALUES ('story', :id, 1, 1, '', 0, 0)"
    )
    raised = threading.Thread(target=fence.set_mode, args=(engine, "ReadOnly"))
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with write_transaction(engine) as connection:
        connection.execute(row, {"id": "early"})
        raised.start()
        for _ in range(1000):
            if connection.execute(waiting).scalar_one():
                break
            raised.join(0.01)
        assert fence.mode(engine) == "Active"
    raised.join(20)
    assert fence.mode(engine) == "ReadOnly"
    with pytest.raises(StoreUnavailable, match="takes no writes"), write_transaction(engine) as c:
        c.execute(row, {"id": "late"})
    with write_transaction(engine) as connection:
        ids = connection.execute(text("SELECT id FROM documents")).scalars().all()
    assert ids == ["early"]


def test_a_restore_may_write_and_leaves_the_mode_as_it_was(backed):
    backed.write()
    fence.set_mode(backed.engine, "Stopped")
    backed.restore(str(backed.engine.url.render_as_string(hide_password=False)), replace=True)
    assert fence.mode(backed.engine) == "Stopped"
    with AnalysisService.open(backed.settings) as service:
        assert service.get_document("story", "s1").body == {"title": "once"}
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            service.ingest([Draft(input="late")])


@pytest.mark.usefixtures("commands_without_logs")
def test_the_command_says_and_sets_it(settings, service):
    run = partial(Commands(settings), "mode")
    assert run() == (0, {"mode": "Active", "before": "Active", "changed": False})
    assert run("Stopped") == (0, {"mode": "Stopped", "before": "Active", "changed": True})
    assert run()[1]["mode"] == "Stopped"
    assert run("Off")[0] == 2
