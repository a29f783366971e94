"""Finding processors: entry points of the group ``analect.processors``."""

from __future__ import annotations

from collections.abc import Mapping

from analect.installed import offered
from analect.model.errors import ConfigurationError
from analect.pipeline.processor import Processor, ProcessorContext, needs_of

GROUP = "analect.processors"
INDEX_PROCESSORS = frozenset({"text", "vectors", "graph"})
"""Processors that keep an index: they run where the settings switch that index on."""


def load_processors(context: ProcessorContext) -> dict[str, Processor]:
    """One instance of every processor that is installed and switched on, by name.

    Raises:
        ConfigurationError: one cannot be loaded; the message names its entry point.
    """
    switched_on = {name for name, _ in context.indexes.present()}
    found: dict[str, Processor] = {}
    for point in offered(GROUP):
        if point.name in INDEX_PROCESSORS and point.name not in switched_on:
            continue
        try:
            processor = point.load()(context)
        except Exception as error:
            raise ConfigurationError(
                f"processor {point.name!r} ({point.value}) cannot be loaded: {error}; "
                f"mend or uninstall the package that registers it",
                field=f"{GROUP}:{point.name}",
            ) from error
        if not isinstance(processor, Processor) or processor.name != point.name:
            raise ConfigurationError(
                f"processor {point.name!r} ({point.value}) must have name {point.name!r}, "
                f"version, process() and forget()",
                field=f"{GROUP}:{point.name}",
            )
        found[point.name] = processor
    return found


def followers(processors: Mapping[str, Processor]) -> dict[str, tuple[str, ...]]:
    """Who goes on with a record once a processor has done with it, by what they need.

    Raises:
        ConfigurationError: one needs a processor that is not here, needs itself in the end, or
            needs two of which neither needs the other.
    """
    found: dict[str, list[str]] = {}
    for name in processors:
        if needed := needs_of(processors[name]):
            found.setdefault(_last(name, needed, processors), []).append(name)
    return {name: tuple(following) for name, following in found.items()}


def _last(name: str, needed: tuple[str, ...], processors: Mapping[str, Processor]) -> str:
    """Of those that ``name`` needs, the one that needs the others."""
    for one in needed:
        if {one, *_upstream(one, processors, (name,))} >= set(needed):
            return one
    raise ConfigurationError(
        f"processor {name!r} needs {' and '.join(needed)}, and none of these needs the others: "
        "let one of them, so that it is known when all have done",
        field=f"{GROUP}:{name}",
    )


def _upstream(name: str, processors: Mapping[str, Processor], seen: tuple[str, ...]) -> set[str]:
    if name not in processors or name in seen:
        what = "which needs it in turn" if name in seen else "which is not installed or is off"
        raise ConfigurationError(
            f"processor {seen[-1]!r} needs {name}, {what}", field=f"{GROUP}:{seen[-1]}"
        )
    found: set[str] = set()
    for one in needs_of(processors[name]):
        found |= {one} | _upstream(one, processors, (*seen, name))
    return found
