"""Names of people, through presidio where it is installed: a model's guess, so off by default."""

from __future__ import annotations

from collections.abc import Iterator

from analect.model.errors import ConfigurationError
from analect.privacy.detect import Span

_LANGUAGE = "en"
_LEAST_SCORE = 0.6


class NameDetector:
    """Finds names with presidio's analyzer and its spaCy model, in English text.

    Raises:
        ConfigurationError: ``presidio-analyzer`` or its model is not installed.
    """

    kind = "person"

    def __init__(self) -> None:
        try:
            from presidio_analyzer import AnalyzerEngine

            self._engine = AnalyzerEngine(supported_languages=[_LANGUAGE])
        except (ImportError, OSError, SystemExit) as error:
            raise ConfigurationError(
                "names of people are looked for with presidio: install presidio-analyzer and its"
                " language model, or set privacy.names to false",
                field="privacy.names",
            ) from error

    def find(self, text: str) -> Iterator[Span]:
        """Every name presidio is reasonably sure of; its value has single blanks and small letters."""
        for result in self._engine.analyze(text=text, language=_LANGUAGE, entities=["PERSON"]):
            if result.score >= _LEAST_SCORE:
                name = text[result.start : result.end]
                yield Span(result.start, result.end, " ".join(name.casefold().split()))
