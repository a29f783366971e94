"""Where settings come from, what is refused, and that the reference page lists them all."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from analect.model.errors import ConfigurationError
from analect.settings import OLDER_NAMES, Settings

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("ANALECT_") or name in OLDER_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _names(model: type[BaseModel], prefix: str = ""):
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _names(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_setting_is_on_the_reference_page_and_no_other():
    rows = re.findall(r"^\| `([a-z_.]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(_names(Settings))


def test_every_default_number_on_the_page_is_the_one_in_the_code():
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([0-9]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows
    for name, written in rows:
        value = Settings()
        for part in name.split("."):
            value = getattr(value, part)
        assert value == float(written), name


def test_every_older_name_is_on_the_reference_page():
    rows = dict(
        re.findall(r"^\| `([A-Z0-9_]+)` \| `([a-z_.]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    )
    assert rows == OLDER_NAMES


def test_defaults_need_nothing():
    settings = Settings()
    assert settings.home == Path("analect-data")
    assert settings.http.host == "127.0.0.1"
    assert settings.http.port == 8080


def test_environment_beats_older_names_beats_file_beats_default(monkeypatch, tmp_path):
    (tmp_path / "analect.toml").write_text(
        "[processing]\nbatch_size = 11\ninterval_seconds = 12\nmax_attempts = 13\n"
    )
    monkeypatch.setenv("ANALYSIS_STORAGE_DIR", str(tmp_path))
    monkeypatch.setenv("PROCESS_BATCH_SIZE", "21")
    monkeypatch.setenv("PROCESS_INTERVAL", "22")
    monkeypatch.setenv("ANALECT_PROCESSING__BATCH_SIZE", "31")
    settings = Settings()
    assert settings.home == tmp_path
    assert settings.processing.batch_size == 31
    assert settings.processing.interval_seconds == 22
    assert settings.processing.max_attempts == 13
    assert settings.processing.lease_seconds == 300
    assert Settings(processing={"batch_size": 41}).processing.batch_size == 41


def test_a_file_may_be_named(monkeypatch, tmp_path):
    file = tmp_path / "elsewhere.toml"
    file.write_text('api_keys = ["one", "two"]\n[http]\nport = 9000\n')
    monkeypatch.setenv("ANALECT_CONFIG", str(file))
    settings = Settings()
    assert settings.api_keys == ("one", "two")
    assert settings.http.port == 9000


def test_lists_may_be_json(monkeypatch):
    monkeypatch.setenv("ANALECT_PRIVACY__OMIT_SERVICES", '["payroll", "legal"]')
    monkeypatch.setenv("ANALECT_PRIVACY__DENY", '["/[a-z]{2,4}-secret/"]')
    privacy = Settings().privacy
    assert privacy.omit_services == ("payroll", "legal")
    assert privacy.deny == ("/[a-z]{2,4}-secret/",)


def test_a_list_that_is_no_json_is_refused(monkeypatch):
    monkeypatch.setenv("ANALECT_PRIVACY__OMIT_SERVICES", "[payroll]")
    with pytest.raises(ConfigurationError, match="omit_services"):
        Settings()


def test_lists_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("ANALECT_API_KEYS", "one, two,")
    monkeypatch.setenv("ANALECT_PRIVACY__OMIT_SERVICES", "payroll")
    settings = Settings()
    assert settings.api_keys == ("one", "two")
    assert settings.privacy.omit_services == ("payroll",)


def test_variables_of_other_programs_are_left_alone(monkeypatch):
    monkeypatch.setenv("ANALECT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("ANALECT_HTTP__PORT", "")
    assert Settings().http.port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANALECT_API_KEY", "k"),
        ("ANALECT_CONFIG", ""),
        ("ANALECT_OPERATOR_PORT", "8081"),
        ("ANALECT_TEST_HOME", "x"),
        ("ANALECT_FAULT_ROUNDS", "long"),
        ("ANALECT_EXPORTER_TOKEN", "of another program"),
        ("ANALECT_SERVICE_HOST", "10.0.0.7"),
        ("ANALECT_SERVICE_PORT_HTTP", "8080"),
        ("ANALECT_PORT", "tcp://10.0.0.7:8080"),
        ("ANALECT_PORT_8080_TCP_ADDR", "10.0.0.7"),
        ("ANALECT_HTTP_PORT", "tcp://10.0.0.7:8080"),
        ("ANALECT_HTTP_SERVICE_PORT", "8080"),
    ],
)
def test_not_every_variable_is_taken_for_a_setting(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert Settings() == Settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ANALECT_HTTP_PORT", "ANALECT_HTTP__PORT"),
        ("ANALECT_HTPP__PORT", "ANALECT_HTTP__PORT"),
        ("ANALECT_DATABSE_URL", "ANALECT_DATABASE_URL"),
        ("ANALECT_PROCESING__BATCH_SIZE", "ANALECT_PROCESSING__BATCH_SIZE"),
        ("ANALECT_NOTHING__AT_ALL", "docs/reference/settings.md"),
    ],
)
def test_a_misspelt_variable_is_named_with_what_was_meant(monkeypatch, name, meant):
    monkeypatch.setenv(name, "s3cret")
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert caught.value.field == name
    assert name in str(caught.value)
    assert meant in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("ANALECT_HTTP__PORT", "s3cret", "http.port"),
        ("ANALECT_HTTP__PORT", "70000", "http.port"),
        ("ANALECT_HTTP__PROT", "1", "http.prot"),
        ("ANALECT_HTTP", "s3cret", "http"),
        ("ANALECT_KEYS__KEK", "s3cret", "keys.kek"),
        ("ANALECT_PROCESSING__INTERVAL_SECONDS", "nan", "processing.interval_seconds"),
        ("ANALECT_INDEX__TEXT", "s3cret", "index.text"),
        ("PROCESS_BATCH_SIZE", "0", "processing.batch_size"),
    ],
)
def test_a_wrong_value_is_named_and_not_quoted(monkeypatch, name, value, setting):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert caught.value.field == setting
    assert setting in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_wrong_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ANALECT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match=r"none\.toml"):
        Settings()
    (tmp_path / "none.toml").write_text("not = [toml")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        Settings()
    (tmp_path / "none.toml").write_text("prot = 1")
    with pytest.raises(ConfigurationError, match="no setting prot"):
        Settings()


def test_secrets_are_not_shown():
    settings = Settings(database_url="postgresql://u:hunter2@h/db", keys={"passphrase": "hunter2"})
    assert "hunter2" not in repr(settings)


def test_the_ring_is_outside_the_home_and_one_a_store(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    one, other = Settings(home=tmp_path / "one"), Settings(home=tmp_path / "other")
    assert one.ring != other.ring
    assert one.ring.is_relative_to(tmp_path / "config")
    assert Settings(home=tmp_path / "x" / ".." / "one").ring == one.ring
    assert Settings(keys={"ring": tmp_path / "mine"}).ring == tmp_path / "mine"


def test_the_ring_of_a_database_does_not_depend_on_who_asks():
    rings = {
        Settings(database_url=f"postgresql://{who}h:5432/db").ring for who in ("", "a:b@", "c@")
    }
    assert len(rings) == 1
    with pytest.raises(ConfigurationError) as caught:
        _ = Settings(database_url="s3cret").ring
    assert caught.value.field == "database_url"


def test_limits_of_a_processor_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("ANALECT_PROCESSORS__VECTORS__RATE", "500")
    monkeypatch.setenv("ANALECT_PROCESSORS__VECTORS__BATCH_SIZE", "100")
    settings = Settings()
    assert settings.limits("vectors").rate == 500
    assert settings.limits("vectors").batch_size == 100
    assert settings.limits("text").batch_size == settings.processing.batch_size
    assert hash(settings) == hash(Settings())
    monkeypatch.delenv("ANALECT_PROCESSORS__VECTORS__RATE")
    assert settings != Settings()
