"""The settings of a store's processes as environment variables."""

from __future__ import annotations

from collections.abc import Iterator

from analect_operator.build import names
from analect_operator.build.site import Manifest, Site
from analect_operator.specs.backends import Backend, CertificateRef, External

HOME = "/var/lib/analect"
RING = "/var/lib/analect-keys"
BACKUPS = "/var/lib/analect-backups"
CERTIFICATES = "/etc/analect/certificates"
API_KEYS = "/etc/analect/api-keys"
PORT = 8080

_USERS = {
    "database": "PGUSER",
    "search": "ANALECT_SEARCH__USER",
    "graph": "ANALECT_GRAPH__USER",
}
_PASSWORDS = {
    "database": "PGPASSWORD",
    "queue": "QUEUE_PASSWORD",
    "search": "ANALECT_SEARCH__PASSWORD",
    "graph": "ANALECT_GRAPH__PASSWORD",
}
_URLS = {
    "database": "ANALECT_DATABASE_URL",
    "queue": "ANALECT_QUEUE__URL",
    "search": "ANALECT_SEARCH__URL",
    "graph": "ANALECT_GRAPH__URL",
}
_MANAGED = {
    "database": "postgresql://{host}:5432/analect",
    "queue": "redis://:$(QUEUE_PASSWORD)@{host}:6379/0",
    "search": "http://{host}:9200",
    "graph": "bolt://{host}:7687",
}


def settings(site: Site) -> dict[str, str]:
    """What is no secret: the data of the store's ConfigMap. Nothing is ever empty."""
    spec = site.spec
    privacy = spec.privacy
    found = {
        "ANALECT_HOME": HOME,
        "ANALECT_HTTP__HOST": "0.0.0.0",  # noqa: S104  (a pod; API keys are always asked for)
        "ANALECT_HTTP__PORT": str(PORT),
        "ANALECT_HTTP__OPEN_METRICS": "true",
        "ANALECT_KEYS__KEK": "env",
        "ANALECT_KEYS__RING": RING,
        "ANALECT_PRIVACY__KEEP_PAYLOAD": _switch(privacy.keep_payload),
        "ANALECT_PRIVACY__NAMES": _switch(privacy.names),
        "ANALECT_PRIVACY__VAULT": _switch(privacy.vault),
    }
    if privacy.omit_services:
        found["ANALECT_PRIVACY__OMIT_SERVICES"] = ",".join(privacy.omit_services)
    if spec.api_keys is not None:
        found["ANALECT_API_KEYS_FILE"] = f"{API_KEYS}/{spec.api_keys.key}"
    if not site.embedded:
        found |= _without_files(site)
    if (store := spec.object_store) is not None:
        found["ANALECT_TIERS__PLACE"] = f"{store.url.rstrip('/')}/tiers"
        if store.endpoint is not None:
            found["ANALECT_OBJECTS__ENDPOINT"] = store.endpoint
        if store.region is not None:
            found["ANALECT_OBJECTS__REGION"] = store.region
        if store.ca is not None:
            found["ANALECT_OBJECTS__CA_FILE"] = f"{CERTIFICATES}/objects.crt"
    return found


def _without_files(site: Site) -> dict[str, str]:
    """In a cluster no pod keeps an index of its own: without an engine there is none."""
    mine = names.shared(site.namespace, site.name)
    search, graph = site.spec.search is not None, site.spec.graph is not None
    return {
        "ANALECT_INDEX__TEXT": _switch(search),
        "ANALECT_INDEX__VECTORS": _switch(search),
        "ANALECT_INDEX__GRAPH": _switch(graph),
        "ANALECT_QUEUE__PREFIX": mine,
        "ANALECT_SEARCH__PREFIX": mine,
        "ANALECT_GRAPH__NAME": mine,
    }


def _switch(on: bool) -> str:
    return "true" if on else "false"


def variables(site: Site) -> list[Manifest]:
    """What comes from Secrets, and what refers to it."""
    spec = site.spec
    kek = spec.keys.kek_secret_ref
    found = [
        _from_secret("ANALECT_API_KEYS", site.secret, "api-key-hash"),
        _from_secret(
            "ANALECT_KEYS__KEK_VALUE", kek.name if kek else site.secret, kek.key if kek else "kek"
        ),
    ]
    for part, backend in backends(site).items():
        found += (
            _managed(site, part) if backend.external is None else _given(part, backend.external)
        )
    if (store := spec.object_store) is not None and (ref := store.secret_ref) is not None:
        found += [
            _from_secret("ANALECT_OBJECTS__ACCESS_KEY_ID", ref.name, ref.access_key_id_key),
            _from_secret("ANALECT_OBJECTS__SECRET_ACCESS_KEY", ref.name, ref.secret_access_key_key),
        ]
    for extra in spec.pod_template.env:
        if extra.secret_key_ref is not None:
            ref_ = extra.secret_key_ref
            found.append(_from_secret(extra.name, ref_.name, ref_.key))
        else:
            found.append({"name": extra.name, "value": extra.value})
    return found


def backends(site: Site) -> dict[str, Backend]:
    """The servers behind the store, by part."""
    spec = site.spec
    parts = {
        "database": spec.database,
        "queue": spec.queue,
        "search": spec.search,
        "graph": spec.graph,
    }
    return {part: backend for part, backend in parts.items() if backend is not None}


def certificates(site: Site) -> dict[str, CertificateRef]:
    """The authorities that were named, by part."""
    found = {
        part: backend.external.ca
        for part, backend in backends(site).items()
        if backend.external is not None and backend.external.ca is not None
    }
    store = site.spec.object_store
    if store is not None and store.ca is not None:
        found["objects"] = store.ca
    return found


def secret_names(site: Site) -> frozenset[str]:
    """Every Secret that the pods use."""
    spec = site.spec
    found = {site.secret}
    found |= {ref.name for ref in certificates(site).values()}
    found |= {
        backend.external.secret_ref.name
        for backend in backends(site).values()
        if backend.external is not None and backend.external.secret_ref is not None
    }
    found |= {env.secret_key_ref.name for env in spec.pod_template.env if env.secret_key_ref}
    for ref in (spec.api_keys, spec.keys.kek_secret_ref):
        if ref is not None:
            found.add(ref.name)
    if spec.object_store is not None and spec.object_store.secret_ref is not None:
        found.add(spec.object_store.secret_ref.name)
    return frozenset(found)


def _given(part: str, external: External) -> Iterator[Manifest]:
    ref = external.secret_ref
    if ref is not None:
        if ref.username_key is not None and part != "queue":
            yield _from_secret(_USERS[part], ref.name, ref.username_key)
        if ref.password_key is not None:
            yield _from_secret(_PASSWORDS[part], ref.name, ref.password_key)
        if ref.url_key is not None:
            yield _from_secret(_URLS[part], ref.name, ref.url_key)
    if external.url is not None:
        url = external.url
        if part == "queue" and ref is not None and ref.password_key is not None:
            scheme, _, rest = url.partition("://")
            url = f"{scheme}://:$(QUEUE_PASSWORD)@{rest}"
        yield {"name": _URLS[part], "value": url}
    if external.ca is not None:
        yield from _trusted(part)


def _trusted(part: str) -> Iterator[Manifest]:
    file = f"{CERTIFICATES}/{part}.crt"
    if part == "database":
        yield {"name": "PGSSLMODE", "value": "verify-full"}
        yield {"name": "PGSSLROOTCERT", "value": file}
    else:
        yield {"name": f"ANALECT_{part.upper()}__CA_FILE", "value": file}


def _managed(site: Site, part: str) -> Iterator[Manifest]:
    url = _MANAGED[part].format(host=site.called(part))
    if part == "database":
        yield {"name": "PGUSER", "value": "analect"}
        yield _from_secret("PGPASSWORD", site.secret, "database-password")
    elif part == "queue":
        yield _from_secret("QUEUE_PASSWORD", site.secret, "queue-password")
    elif part == "graph":
        yield {"name": _USERS[part], "value": "neo4j"}
        yield _from_secret(_PASSWORDS[part], site.secret, "graph-password")
    yield {"name": _URLS[part], "value": url}


def _from_secret(name: str, secret: str, key: str) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
