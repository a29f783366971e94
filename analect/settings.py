"""One settings tree: keyword arguments, ``ANALECT_*``, the older names, a TOML file, defaults.

The first of these that names a setting wins. Nested settings join their names with ``__``:
``ANALECT_HTTP__PORT`` is ``http.port``, and ``port`` in the table ``[http]`` of the file. Lists
are separated by commas. The file is the one ``ANALECT_CONFIG`` names, or ``analect.toml`` in the
home folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from analect.model.errors import ConfigurationError
from analect.setting_names import misspelt

PREFIX = "ANALECT_"
CONFIG_FILE = "analect.toml"
DEFAULT_HOME = Path("analect-data")
MEBIBYTE = 1024 * 1024

OLDER_NAMES: dict[str, str] = {
    "ANALYSIS_STORAGE_DIR": "home",
    "ENABLE_VECTOR_STORE": "index.vectors",
    "ENABLE_GRAPH_DB": "index.graph",
    "AUTO_PROCESS_ANALYSES": "processing.auto",
    "PROCESS_INTERVAL": "processing.interval_seconds",
    "PROCESS_BATCH_SIZE": "processing.batch_size",
    "NEO4J_URI": "graph.url",
    "NEO4J_USER": "graph.user",
    "NEO4J_USERNAME": "graph.user",
    "NEO4J_PASSWORD": "graph.password",
    "NEO4J_DATABASE": "graph.database",
    "QDRANT_URL": "qdrant.url",
    "QDRANT_HOST": "qdrant.host",
    "QDRANT_PORT": "qdrant.port",
    "QDRANT_API_KEY": "qdrant.api_key",
    "REDIS_URL": "queue.url",
    "REDIS_HOST": "queue.host",
    "REDIS_PORT": "queue.port",
}
"""Environment variables of the older programs and the settings they mean."""


def _listed(value: Any) -> Any:
    """A list of an environment variable: parts between commas, spaces around them cut; or JSON."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                return tuple(json.loads(value))
            except ValueError as error:
                raise ValueError("begins like a JSON list and is none") from error
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def secret_in(path: Path | None, setting: str) -> SecretStr | None:
    """What a file holds that a setting names; ``None`` where it names none.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if path is None:
        return None
    try:
        return SecretStr(path.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{setting} {path} cannot be read", field=setting) from error


def _secret(value: SecretStr | None, path: Path | None, setting: str) -> str | None:
    found = value or secret_in(path, setting)
    return None if found is None else found.get_secret_value()


class Http(_Group):
    """What the server listens on and how much it takes."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    max_body_bytes: Positive = 64 * MEBIBYTE
    max_unpacked_bytes: Positive = 64 * MEBIBYTE
    max_item_bytes: Positive = 4 * MEBIBYTE
    max_batch_items: Positive = 10_000
    max_inflight_bytes: Positive = 64 * MEBIBYTE
    deadline_seconds: Seconds = 30.0
    shutdown_seconds: Seconds = 8.0
    open_metrics: bool = False


class Privacy(_Group):
    """What is looked for and what is kept."""

    detectors: Names = ()
    deny: Names = ()
    allow: Names = ()
    names: bool = False
    names_model: str = "en_core_web_sm"
    keep_payload: bool = True
    omit_services: Names = ()
    vault: bool = False


class Keys(_Group):
    """Where the key ring is and what opens it."""

    ring: Path | None = None
    kek: Literal["file", "passphrase", "env"] = "file"
    kek_file: Path | None = None
    kek_value: SecretStr | None = None
    passphrase: SecretStr | None = None
    passphrase_file: Path | None = None


class Index(_Group):
    """Which indexes are kept."""

    text: bool = True
    vectors: bool = True
    graph: bool = True


class Search(_Group):
    """The OpenSearch that keeps words and meaning, where there is one."""

    url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = None
    user: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")] = "analect"
    answer_seconds: Seconds = 5.0
    timeout_seconds: Seconds = 10.0
    connections: Positive = 10
    shards: Positive = 1
    replicas: Annotated[int, Field(ge=0)] | None = None
    refresh_seconds: Seconds = 1.0

    def credentials(self) -> tuple[str, str] | None:
        """User and password; none where no user is set.

        Raises:
            ConfigurationError: the password's file cannot be read.
        """
        if self.user is None:
            return None
        return self.user, _secret(self.password, self.password_file, "search.password_file") or ""


class Processing(_Group):
    """How the indexes are kept up."""

    auto: bool = True
    interval_seconds: Seconds = 1.0
    batch_size: Positive = 500
    max_attempts: Positive = 20
    backoff_seconds: Seconds = 1.0
    lease_seconds: Seconds = 300.0


class Limits(_Group):
    """How much of one processor's work is done at once; what is not said is as for all."""

    batch_size: Positive | None = None
    concurrency: Positive | None = None
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class LimitsByName(dict[str, Limits]):
    """Not changed once it is made, so that settings can be told apart by a hash."""

    def __hash__(self) -> int:  # type: ignore[override]  # a dict's is None
        return hash(frozenset(self.items()))


class Queue(_Group):
    """The queue between dispatcher and workers, on a Redis or Valkey server."""

    url: SecretStr | None = None
    host: str | None = None
    port: Annotated[int, Field(gt=0, le=65535)] = 6379
    ca_file: Path | None = None
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = "analect"
    jobs_waiting: Positive = 50
    poll_seconds: Seconds = 1.0
    worker: Literal["simple", "pool", "fork"] = "simple"
    processes: Positive = 2


class Objects(_Group):
    """How object stores (``s3://bucket/prefix``) are reached."""

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    access_key_id_file: Path | None = None
    secret_access_key_file: Path | None = None
    ca_file: Path | None = None
    path_style: bool = True
    timeout_seconds: Seconds = 60.0
    retry_seconds: Seconds = 60.0

    def credentials(self) -> dict[str, SecretStr]:
        """Those that are set, here or in files; none: those of the environment (``AWS_*``).

        Raises:
            ConfigurationError: a file cannot be read.
        """
        found = {
            "access_key_id": self.access_key_id
            or secret_in(self.access_key_id_file, "objects.access_key_id_file"),
            "secret_access_key": self.secret_access_key
            or secret_in(self.secret_access_key_file, "objects.secret_access_key_file"),
            "session_token": self.session_token,
        }
        return {name: value for name, value in found.items() if value is not None}


class Backup(_Group):
    """Where changes go while the store runs."""

    place: str | None = None
    files: Literal["auto", "copy", "reference"] = "auto"
    log_seconds: Seconds = 2.0
    pgbackrest: str = "pgbackrest"
    pgbackrest_config: Path | None = None
    pg_ctl: str = "pg_ctl"


class Tiers(_Group):
    """Where warm and cold records are."""

    place: str | None = None


class Retention(_Group):
    """By which policies records age, and where their job leaves its summary."""

    policies: Names = ()
    termination_log: Path | None = None


class Cache(_Group):
    """How long answers are kept, by what they are, and where."""

    url: SecretStr | None = None
    max_results: Positive = 1024
    common_questions_seconds: Seconds = 300.0
    user_behavior_seconds: Seconds = 600.0
    content_performance_seconds: Seconds = 900.0
    business_metrics_seconds: Seconds = 3600.0


class Graph(_Group):
    """The Neo4j server that keeps the graph; without a URL the graph is a file."""

    url: str | None = None
    user: str = "neo4j"
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    database: str | None = None
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = "analect"
    pool_size: Positive = 16
    connect_seconds: Seconds = 5.0
    answer_seconds: Seconds = 5.0
    timeout_seconds: Seconds = 30.0

    def credentials(self) -> tuple[str, str] | None:
        """User and password; None where none is set.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        password = _secret(self.password, self.password_file, "graph.password_file")
        return None if password is None else (self.user, password)


class Qdrant(_Group):
    """The Qdrant that keeps vectors, where there is one."""

    url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = None
    host: str | None = None
    port: Annotated[int, Field(gt=0, le=65535)] = 6333
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    ca_file: Path | None = None
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")] = "analect"
    timeout_seconds: Seconds = 10.0

    @property
    def address(self) -> str | None:
        """Where it is; None where there is none."""
        return self.url or (f"http://{self.host}:{self.port}" if self.host else None)

    def key(self) -> str | None:
        """What the server asks for, if it does.

        Raises:
            ConfigurationError: the key's file cannot be read.
        """
        return _secret(self.api_key, self.api_key_file, "qdrant.api_key_file")


class Embeddings(_Group):
    """What turns texts into vectors: the built-in model, or a server."""

    model: str = "wordllama"
    url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = None
    dimension: Positive | None = None
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    ca_file: Path | None = None
    batch_size: Positive = 64
    max_characters: Positive = 8000
    requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    timeout_seconds: Seconds = 30.0
    cache_mib: Positive = 64
    price_per_million_tokens: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def key(self) -> str | None:
        """What the server asks for, if it does.

        Raises:
            ConfigurationError: the key's file cannot be read.
        """
        return _secret(self.api_key, self.api_key_file, "embeddings.api_key_file")


class Log(_Group):
    """What is logged and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"

    @field_validator("level", "format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """The whole tree; immutable.

    Raises:
        ConfigurationError: a value is wrong or a name in the file is unknown; ``field`` names
            the setting and the message says what it takes, without quoting what was given.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    home: Path = DEFAULT_HOME
    database_url: SecretStr | None = None
    api_keys: Names = ()
    api_keys_file: Path | None = None
    http: Http = Http()
    privacy: Privacy = Privacy()
    keys: Keys = Keys()
    index: Index = Index()
    search: Search = Search()
    processing: Processing = Processing()
    processors: Annotated[dict[str, Limits], AfterValidator(LimitsByName)] = LimitsByName()
    queue: Queue = Queue()
    cache: Cache = Cache()
    objects: Objects = Objects()
    tiers: Tiers = Tiers()
    retention: Retention = Retention()
    graph: Graph = Graph()
    qdrant: Qdrant = Qdrant()
    backup: Backup = Backup()
    embeddings: Embeddings = Embeddings()
    log: Log = Log()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explained(error) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the hook's signature)
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What names a setting, the strongest first."""
        given = init_settings()
        variables = _from_environment(os.environ)
        older = _from_older_names(os.environ)
        home = given.get("home") or variables.get("home") or older.get("home") or DEFAULT_HOME
        written = _from_file(os.environ, Path(home))
        return (
            init_settings,
            *(_Values(settings_cls, values) for values in (variables, older, written)),
        )

    @property
    def ring(self) -> Path:
        """The key ring's folder: as set, or one a store under the user's configuration.

        The default is named by a hash of the home folder or, where the truth is in a database
        server, of its address without user and password.
        """
        if self.keys.ring is not None:
            return self.keys.ring
        base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        digest = hashlib.sha256(self._whereabouts().encode()).hexdigest()
        return Path(base) / "analect" / "rings" / digest[:16]

    @property
    def queue_url(self) -> str | None:
        """Where the queue is; None where the process that stores also processes.

        Only a database server has one: a folder is one process's.
        """
        if self.database_url is None or self._whereabouts().startswith("sqlite:"):
            return None
        if self.queue.url is not None:
            return self.queue.url.get_secret_value()
        return f"redis://{self.queue.host}:{self.queue.port}/0" if self.queue.host else None

    @property
    def cache_url(self) -> str | None:
        """The Redis behind the cache: its own, else the queue's; None: memory alone."""
        return self.cache.url.get_secret_value() if self.cache.url else self.queue_url

    def limits(self, processor: str) -> Limits:
        """Those of one processor, its batch size filled in."""
        said = self.processors.get(processor, Limits())
        size = said.batch_size or self.processing.batch_size
        return said.model_copy(update={"batch_size": size})

    def _whereabouts(self) -> str:
        if self.database_url is None:
            return str(self.home.resolve())
        try:
            url = make_url(self.database_url.get_secret_value())
        except ArgumentError as error:
            raise ConfigurationError(
                "database_url (ANALECT_DATABASE_URL) is no database URL: give one like "
                "postgresql://user@host:5432/name",
                field="database_url",
            ) from error
        return f"{url.get_backend_name()}://{url.host}:{url.port}/{url.database}"


class _Values(PydanticBaseSettingsSource):
    """A source whose values are known already."""

    def __init__(self, settings_cls: type[BaseSettings], values: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  (the base's signature)
        """One top-level value."""
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All of them."""
        return self._values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """``ANALECT_*`` as a nested dict of texts; pydantic turns them into what the fields are.

    A wrong name within a group is an error, and one that was meant for a setting; any other
    variable is some other program's. An empty one is "not said".

    Raises:
        ConfigurationError: a variable is misspelt.
    """
    if wrong := misspelt(environ, PREFIX, (name.upper() for name in _variables(Settings))):
        raise ConfigurationError(
            "; ".join(
                f"there is no setting for the variable {name}"
                + (f"; did you mean {near}?" if near else ": look into docs/reference/settings.md")
                for name, near in sorted(wrong.items())
            ),
            field=min(wrong),
        )
    found: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or not value:
            continue
        path = name[len(PREFIX) :].lower().split("__")
        if path[0] in Settings.model_fields:
            _put(found, path, value)
    return found


def _variables(model: type[BaseModel], group: str = "") -> Iterator[str]:
    """Every setting, groups joined as in a variable."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _variables(kind, f"{group}{name}__")
        else:
            yield group + name


def _from_older_names(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, setting in OLDER_NAMES.items():
        if value := environ.get(name):
            _put(found, setting.split("."), value)
    return found


def _put(found: dict[str, Any], path: list[str], value: str) -> None:
    *groups, last = path
    place: Any = found
    for group in groups:
        place = place.setdefault(group, {})
        if not isinstance(place, dict):
            return  # the group's own name has a value, which is refused with its name
    place[last] = value


def _from_file(environ: Mapping[str, str], home: Path) -> dict[str, Any]:
    named = environ.get(f"{PREFIX}CONFIG")
    path = Path(named) if named else home / CONFIG_FILE
    if not named and not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not valid TOML"
        raise ConfigurationError(
            f"the settings file {path} cannot be read: {reason}", field="ANALECT_CONFIG"
        ) from error


def _explained(error: ValidationError) -> ConfigurationError:
    """One sentence a wrong setting, in every name it can have."""
    sentences = []
    settings = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path = [str(part) for part in problem["loc"] if isinstance(part, str)]
        setting = ".".join(path)
        settings.append(setting)
        if problem["type"] == "extra_forbidden":
            sentences.append(f"there is no setting {setting}")
        else:
            variable = PREFIX + "__".join(path).upper()
            sentences.append(f"setting {setting} ({variable}): {problem['msg']}")
    return ConfigurationError("; ".join(sentences), field=settings[0] if settings else None)
