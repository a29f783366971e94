"""Finding processors: entry points of the group ``analect.processors``."""

from __future__ import annotations

from importlib.metadata import entry_points

from analect.model.errors import ConfigurationError
from analect.pipeline.processor import Processor, ProcessorContext

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
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
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
