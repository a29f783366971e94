"""Which generation of an index answers and which is being built: one small document in OpenSearch.

It is read before every write and changed only by who saw its last version, so that all processes
agree. It is in an index of its own, ``<prefix>-control``, a document a kind of index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from analect.index.opensearch.engine import OpenSearch, Refused, Starting
from analect.model.errors import EngineUnavailable
from analect.model.ids import RecordId

_ATTEMPTS = 20
_READY_SECONDS = 5
_BODY = {
    "settings": {
        "index": {"number_of_shards": 1, "auto_expand_replicas": "0-1", "hidden": True},
    },
    "mappings": {"dynamic": False},
}


@dataclass(frozen=True, slots=True)
class State:
    """``current`` answers; ``building`` is being filled by ``builder``, who raises ``beat`` now and
    then and has put in everything up to ``reached``. ``drops`` counts the months that were dropped.
    """

    current: int
    building: int | None = None
    builder: str = ""
    beat: int = 0
    reached: RecordId | None = None
    drops: int = 0
    seen: tuple[int, int] = field(default=(0, 0), compare=False)

    @property
    def generations(self) -> tuple[int, ...]:
        """Those that writes go to."""
        return (self.current,) if self.building is None else (self.current, self.building)


class Control:
    """The document of one kind of index."""

    def __init__(self, engine: OpenSearch, kind: str, first: Callable[[], int]) -> None:
        self._engine = engine
        self._index = f"{engine.settings.prefix}-control"
        self._path = f"/{self._index}/_doc/{kind}"
        self._first = first

    def read(self) -> State:
        """As it is now; made when it is not there yet."""
        while True:
            try:
                found = self._find()
            except Refused as error:
                if error.status != 404:
                    raise
                self._make()
                continue
            seen = found["_seq_no"], found["_primary_term"]
            return State(**found["_source"], seen=seen)

    def change(self, alter: Callable[[State], State]) -> State:
        """Write what ``alter`` makes of the present state; it is called again when another process
        was quicker, and may raise.
        """
        for _ in range(_ATTEMPTS):
            state = self.read()
            wanted = alter(state)
            seq_no, term = state.seen
            try:
                self._engine.request(
                    "PUT",
                    self._path,
                    body=_values(wanted),
                    if_seq_no=str(seq_no),
                    if_primary_term=str(term),
                )
            except Refused as error:
                if error.status != 409:
                    raise
            else:
                return replace(wanted, seen=(-1, -1))
        raise EngineUnavailable("the state of the index keeps changing; try again")

    def _find(self) -> Any:
        """Writes wait until an index that was made this moment is ready; reads do not."""
        try:
            return self._engine.request("GET", self._path)
        except Starting as error:
            ready = (
                f"/_cluster/health/{self._index}?wait_for_status=yellow&timeout={_READY_SECONDS}s"
            )
            try:
                self._engine.request("GET", ready)
            except Refused:
                raise error from None
            return self._engine.request("GET", self._path)

    def _make(self) -> None:
        """Two processes may come here at once: one makes it."""
        try:
            self._engine.request("PUT", f"/{self._index}", body=_BODY)
        except Refused as error:
            if error.kind != "resource_already_exists_exception":
                raise
        try:
            self._engine.request(
                "PUT", self._path, body=_values(State(self._first())), op_type="create"
            )
        except Refused as error:
            if error.status != 409:
                raise


def _values(state: State) -> dict[str, Any]:
    return {
        "current": state.current,
        "building": state.building,
        "builder": state.builder,
        "beat": state.beat,
        "reached": state.reached,
        "drops": state.drops,
    }
