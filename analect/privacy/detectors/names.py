"""Names of people, through presidio where it is installed: a model's guess, so off by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from analect.model.errors import ConfigurationError
from analect.privacy.detect import DEFAULT_NAMES_MODEL, Span

_LANGUAGE = "en"
_LEAST_SCORE = 0.6


class NameDetector:
    """Finds names with presidio's analyzer and a spaCy pipeline, in English text.

    ``model``: an installed package or a folder. Presidio would fetch one that is missing from the
    network; here it is refused instead.

    Raises:
        ConfigurationError: ``presidio-analyzer`` or the model is not installed.
    """

    kind = "person"

    def __init__(self, model: str = DEFAULT_NAMES_MODEL) -> None:
        try:
            import spacy
            from presidio_analyzer import AnalyzerEngine
            from presidio_analyzer.nlp_engine import NlpEngineProvider
        except ImportError as error:
            raise ConfigurationError(
                "names of people are looked for with presidio: install presidio-analyzer and a"
                " spaCy pipeline, or set privacy.names to false",
                field="privacy.names",
            ) from error
        if not spacy.util.is_package(model) and not Path(model).is_dir():
            raise ConfigurationError(
                f"the spaCy pipeline {model} is not installed: install it, or set"
                " privacy.names_model to the package or the folder of another",
                field="privacy.names_model",
            )
        pipeline = {"lang_code": _LANGUAGE, "model_name": model}
        provider = NlpEngineProvider(
            nlp_configuration={"nlp_engine_name": "spacy", "models": [pipeline]}
        )
        self._engine = AnalyzerEngine(
            nlp_engine=provider.create_engine(), supported_languages=[_LANGUAGE]
        )

    def find(self, text: str) -> Iterator[Span]:
        """Every name presidio is reasonably sure of; its value has single blanks and small letters."""
        for result in self._engine.analyze(text=text, language=_LANGUAGE, entities=["PERSON"]):
            if result.score >= _LEAST_SCORE:
                name = text[result.start : result.end]
                yield Span(result.start, result.end, " ".join(name.casefold().split()))
