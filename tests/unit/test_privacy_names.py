"""Names of people, with presidio where it is installed, and what is said where it is not."""

import sys

import pytest

from analect.model.errors import ConfigurationError
from analect.model.record import Draft
from analect.privacy.detect import PrivacyOptions
from analect.privacy.pseudonymise import Pseudonymiser

KEY = b"names of people" * 3


def test_without_presidio_the_start_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ConfigurationError, match="install presidio-analyzer") as error:
        Pseudonymiser(KEY, PrivacyOptions(names=True), detectors=[])
    assert error.value.field == "privacy.names"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A spaCy pipeline on disk that knows a few people: the smallest there is."""
    pytest.importorskip("presidio_analyzer", reason="presidio is not among the dependencies")
    import spacy

    blank = spacy.blank("en")
    ruler = blank.add_pipe("entity_ruler")
    ruler.add_patterns(
        [{"label": "PERSON", "pattern": name} for name in ("Anna Schmidt", "Li Wei")]
    )
    place = tmp_path_factory.mktemp("spacy") / "people"
    blank.to_disk(place)
    return str(place)


def test_names_become_tokens(pipeline):
    options = PrivacyOptions(names=True, names_model=pipeline)
    pseudonymiser = Pseudonymiser(KEY, options, detectors=[])
    draft = Draft(
        input="Anna Schmidt (anna@example.org) asked for Li  Wei.",
        variables={"to": ["Anna Schmidt"]},
    )
    assert pseudonymiser.drafts([draft]) == [None]
    assert "Anna" not in draft.input
    assert draft.input.startswith("<person:")
    assert "<email:" in draft.input
    assert draft.variables["to"] == [draft.input.split(" (")[0]]


def test_a_pipeline_that_is_missing_is_not_fetched(pipeline):
    options = PrivacyOptions(names=True, names_model="en_core_web_none")
    with pytest.raises(ConfigurationError, match="en_core_web_none is not installed") as error:
        Pseudonymiser(KEY, options, detectors=[])
    assert error.value.field == "privacy.names_model"
