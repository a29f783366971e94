"""All indices of one kind: a generation has one index a month, and an alias is where questions go.

``analect-text-1763735012345-2026.11`` is November 2026 of the generation made at that millisecond;
``analect-text`` is the alias of every month of the generation that answers. A whole month can be
dropped at once. Months come into being with the first write to them.

A month of a generation joins the alias after it was made, by what the control document says then.
Who switches generations writes the document first, then moves the alias, then drops the old ones;
so whatever comes in between is either moved or dropped with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import Any

import structlog

from analect.index.opensearch.control import Control, State
from analect.index.opensearch.engine import OpenSearch, Refused
from analect.index.opensearch.mapping import template
from analect.model.errors import ConfigurationError, EngineUnavailable
from analect.model.ids import Clock, RecordId, month_of

log = structlog.get_logger(__name__)

KNOWN_SECONDS = 60.0
"""How long an index is taken to be there without asking."""
READY_SECONDS = 5.0
"""How long the generation that answers is taken to be the one it was."""
_ATTEMPTS = 3


class Family:
    """Thread-safe.

    Args:
        engine: where they are.
        kind: ``text`` or ``vectors``, also the word for ``analect rebuild``.
        fields: those of this kind.
        described: what each index says of itself, and must say to be used.
        clock: names generations.
    """

    def __init__(
        self,
        engine: OpenSearch,
        kind: str,
        fields: dict[str, Any],
        described: dict[str, Any],
        clock: Clock,
    ) -> None:
        self.engine = engine
        self.kind = kind
        self.clock = clock
        self.alias = f"{engine.settings.prefix}-{kind}"
        self.control = Control(engine, kind, self._first_generation)
        self._fields = fields
        self._described = described
        self._lock = Lock()
        self._fitting: set[int] = set()
        self._ours: set[str] = set()
        self._known: dict[str, float] = {}
        self._drops = 0
        self._checked = False
        self._ready_until = 0.0

    def new_generation(self) -> int:
        """A number never used before: the millisecond."""
        return self.clock() // 1000

    def index_of(self, generation: int, record_id: RecordId) -> str:
        """The index of a record."""
        return f"{self.alias}-{generation}-{month_of(record_id).replace('-', '.')}"

    def pattern(self, generation: int) -> str:
        """Every month of a generation."""
        return f"{self.alias}-{generation}-*"

    def state(self) -> State:
        """Which generations there are, for who writes."""
        self.check_server()
        state = self.control.read()
        with self._lock:
            if state.drops != self._drops:  # whatever was known to be there may be gone
                self._known.clear()
                self._ours = set()
                self._drops = state.drops
        return state

    def check_server(self) -> None:
        """Once: whether the server has what it takes.

        Raises:
            ConfigurationError: it has not.
        """
        if not self._checked:
            self.engine.check(vectors=self.kind == "vectors")
            self._checked = True

    def ready(self) -> None:
        """:meth:`look` now and then."""
        now = time.monotonic()
        if now >= self._ready_until:
            self.look()
            self._ready_until = now + READY_SECONDS

    def look(self) -> None:
        """See that the generation that answers is of our layout, words and model, and that nothing
        else is asked with it.

        Raises:
            ConfigurationError: it is of another, or the alias holds an index that is not ours.
        """
        current = self.state().current
        self.fit(current)
        held = self._held()
        self._no_strangers(held, current)
        if not held.issuperset(self.names(current)):
            # Of a month that is being made this moment, or somebody took the alias away: whoever
            # asks would find nothing there, and not be told.
            self.align()

    def fit(self, generation: int) -> None:
        """See that a generation is of our layout, words and model; new months will be, too.

        Raises:
            ConfigurationError: it is of another.
        """
        if generation in self._fitting:
            return
        said = list(self._said(self.pattern(generation)).values())
        name = f"{self.alias}-{generation}"
        try:
            found = self.engine.request("GET", f"/_index_template/{name}")["index_templates"]
        except Refused as error:
            if error.status != 404:
                raise
        else:
            mappings = found[0]["index_template"]["template"]["mappings"]
            said.append(mappings["_meta"].get("analect"))
        for one in said:
            if one != self._described:
                raise self._unfit(one)
        self.engine.request("PUT", f"/_index_template/{name}", body=self._template(generation))
        self._fitting.add(generation)

    def ensure(self, names: Iterable[str]) -> None:
        """See that these indices are there, and the alias with those of the present generation."""
        now = time.monotonic()
        with self._lock:
            unknown = [name for name in set(names) if self._known.get(name, 0.0) < now]
        if not unknown:
            return
        for name in unknown:
            # Said again here: somebody may have removed the template.
            made = self._template(self._generation(name) or 0)["template"]
            try:
                self.engine.request("PUT", f"/{name}", body=made)
            except Refused as error:
                if error.kind != "resource_already_exists_exception":
                    raise
        self.align()
        with self._lock:
            self._known.update(dict.fromkeys(unknown, now + KNOWN_SECONDS))

    def align(self) -> None:
        """Bring the alias in line with the control document, and drop what no generation needs."""
        for _ in range(_ATTEMPTS):
            # In this order: a generation is named by the document before it has an index.
            found = self.engine.request("GET", f"/{self.alias}-*/_alias")
            state = self.control.read()
            mine = {name: self._generation(name) for name in found}
            wanted = {name for name, number in mine.items() if number == state.current}
            holding = {name for name, one in found.items() if self.alias in one["aliases"]}
            actions = [
                {verb: {"index": name, "alias": self.alias}}
                for verb, names in (("add", wanted - holding), ("remove", holding - wanted))
                for name in sorted(names)
            ]
            try:
                if actions:
                    self.engine.request("POST", "/_aliases", body={"actions": actions})
            except Refused as error:
                if error.status != 404:
                    raise
                continue  # an index was dropped meanwhile: look again
            for number in set(mine.values()) - {*state.generations, None}:
                self.drop(number)
            return
        raise EngineUnavailable("the indices keep changing; try again")

    def drop(self, generation: int | None) -> None:
        """Remove every month of a generation."""
        for name in [n for n in self.names() if self._generation(n) == generation]:
            self.forget(name)
        with suppress(Refused):  # it may never have come to a template
            self.engine.request("DELETE", f"/_index_template/{self.alias}-{generation}")

    def drop_month(self, month: str) -> bool:
        """Remove ``YYYY-MM``, unless a generation is being filled."""
        if self.state().building is not None:
            return False
        for name in [n for n in self.names() if n.endswith(f"-{month.replace('-', '.')}")]:
            self.forget(name)
        # A writer that took the month to be there made it again, without the alias: from here on
        # everyone looks anew.
        self.control.change(lambda state: replace(state, drops=state.drops + 1))
        return True

    def forget(self, name: str) -> None:
        """Remove one index, if it is there."""
        with self._lock:
            self._known.pop(name, None)
        try:
            self.engine.request("DELETE", f"/{name}", ignore_unavailable="true")
        except Refused as error:
            if error.status != 404:
                raise

    def names(self, generation: int | None = None) -> list[str]:
        """The indices there are, of one generation or of all, in order of month."""
        found = self.engine.request("GET", f"/{self.alias}-*/_alias")
        numbers = {name: self._generation(name) for name in found}
        return sorted(
            name
            for name, number in numbers.items()
            if number is not None and generation in {None, number}
        )

    def _first_generation(self) -> int:
        """Where the control document is missing: the one that the alias names, if it does."""
        numbers = [n for name in self._held() if (n := self._generation(name)) is not None]
        return max(numbers) if numbers else self.new_generation()

    def _held(self) -> set[str]:
        """The indices that the alias names."""
        try:
            return set(self.engine.request("GET", f"/_alias/{self.alias}"))
        except Refused as error:
            if error.status != 404:  # nothing was written yet
                raise
            return set()

    def _no_strangers(self, held: set[str], current: int) -> None:
        """See that the alias holds nothing but months of ours, each made as we make them.

        Raises:
            ConfigurationError: it does: what is found there would be taken for ours, or refused.
        """
        strangers = sorted(name for name in held if self._generation(name) is None)
        if strangers:
            raise ConfigurationError(
                f"the alias {self.alias} in OpenSearch names an index that is not of this store, "
                f"{strangers[0]}: take it out of the alias, or set another search.prefix "
                "(ANALECT_SEARCH__PREFIX) and run `analect rebuild`",
                field="search.prefix",
            )
        months = {name for name in held - self._ours if self._generation(name) == current}
        if months:
            try:
                said = self._said(",".join(sorted(months)))
            except Refused as error:
                if error.status != 404:
                    raise
                return  # one of them was dropped meanwhile: the next look tells
            for name in months:
                if said.get(name) != self._described:
                    raise self._unfit(said.get(name))
            self._ours |= months

    def _said(self, names: str) -> dict[str, Any]:
        """What indices say of themselves, by name; one that says nothing is left out."""
        answer = self.engine.request("GET", f"/{names}/_mapping", filter_path="*.mappings._meta")
        return {name: one["mappings"]["_meta"].get("analect") for name, one in answer.items()}

    def _template(self, generation: int) -> dict[str, Any]:
        pattern = self.pattern(generation)
        return template(pattern, self._fields, self._described, self.engine.settings)

    def _generation(self, name: str) -> int | None:
        """Of an index; ``None`` for one that is not ours."""
        number, _, month = name.removeprefix(f"{self.alias}-").partition("-")
        return int(number) if number.isdecimal() and month else None

    def _unfit(self, said: Any) -> ConfigurationError:
        there = said if isinstance(said, dict) else {}
        if "model" in self._described and "model" in there:
            return ConfigurationError(
                f"the vectors index in OpenSearch was made with the model {there['model']} "
                f"({there.get('dimension')} dimensions), the settings name "
                f"{self._described['model']} ({self._described['dimension']}): run "
                "`analect rebuild vectors`, or set the model back",
                field="embeddings.model",
            )
        return ConfigurationError(
            f"the {self.kind} index in OpenSearch is not as this release makes it: run "
            f"`analect rebuild {self.kind}`",
            field=f"index.{self.kind}",
        )
