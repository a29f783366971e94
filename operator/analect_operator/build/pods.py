"""The pods of a store: restricted, with the same settings, volumes and template in all of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from analect_operator.build import environment as env
from analect_operator.build.site import Manifest, Site
from analect_operator.specs.backends import Resources
from analect_operator.specs.base import GROUP
from analect_operator.specs.quantities import canonical

USER = 10001


def template(
    site: Site,
    component: str,
    command: list[str],
    resources: Resources,
    *,
    serves: bool = True,
    more_volumes: tuple[tuple[str, str, Manifest], ...] = (),
    job: bool = False,
) -> Manifest:
    """A pod template with one container; ``more_volumes`` are (name, path, source)."""
    common, shared = site.spec.pod_template, _shared(site)
    volumes = (*shared.volumes, *more_volumes)
    container: Manifest = {
        "name": "analect",
        "image": site.image,
        "imagePullPolicy": site.spec.image_pull_policy,
        "command": command,
        "envFrom": [{"configMapRef": {"name": site.called("settings")}}],
        "env": shared.env,
        "volumeMounts": [
            {"name": name, "mountPath": path}
            | ({"readOnly": True} if "secret" in source or "projected" in source else {})
            for name, path, source in volumes
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The last line of a process that cannot begin says why.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    } | sized(resources)
    if serves:
        container |= _probed()
    spec: Manifest = {
        "serviceAccountName": site.called("pods"),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": restricted(USER),
        "terminationGracePeriodSeconds": common.termination_grace_seconds,
        "containers": [container],
        "volumes": [{"name": name, **source} for name, _path, source in volumes],
    } | placed(site, component)
    if job:
        spec["restartPolicy"] = "Never"
    annotations = {
        **(_scraped() if serves and site.spec.monitoring.scrape_annotations else {}),
        **common.annotations,
        f"{GROUP}/settings": shared.settings,
        f"{GROUP}/secrets": shared.secrets,
    }
    return {
        "metadata": {
            "labels": {**common.labels, **site.labels(component)},
            "annotations": annotations,
        },
        "spec": spec,
    }


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all pods of a store have: variables, volumes, and what changes when the settings or a
    Secret do. Nobody may change it in place.
    """

    env: list[Manifest]
    volumes: tuple[tuple[str, str, Manifest], ...]
    settings: str
    secrets: str


@lru_cache(maxsize=2)
def _shared(site: Site) -> _Shared:
    """A store has a dozen pod templates; this is most of each."""
    settings = _digest(env.settings(site))
    return _Shared(env.variables(site), _volumes(site), settings, secrets_digest(site))


def restricted(user: int) -> Manifest:
    """What Pod Security `restricted` asks of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def sized(resources: Resources) -> Manifest:
    """The container's resources, in canonical quantities; nothing when none are given."""
    parts = {
        "requests": {"cpu": resources.cpu, "memory": resources.memory},
        "limits": {"cpu": resources.cpu_limit, "memory": resources.memory_limit},
    }
    found = {
        part: given
        for part, amounts in parts.items()
        if (given := {name: canonical(one) for name, one in amounts.items() if one is not None})
    }
    return {"resources": found} if found else {}


def placed(site: Site, component: str) -> Manifest:
    """Where pods go: what the template of the store says, and spread over hosts."""
    common = site.spec.pod_template
    selector = {"matchLabels": site.selector(component)}
    spread = [
        {
            "topologyKey": one.topology_key,
            "maxSkew": one.max_skew,
            "whenUnsatisfiable": one.when_unsatisfiable,
            "labelSelector": selector,
        }
        for one in common.topology_spread
    ] or [
        {
            "topologyKey": "kubernetes.io/hostname",
            "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selector,
        }
    ]
    found: Manifest = {"topologySpreadConstraints": spread}
    if common.node_selector:
        found["nodeSelector"] = common.node_selector
    if common.affinity:
        found["affinity"] = common.affinity
    if common.tolerations:
        found["tolerations"] = [
            one.model_dump(by_alias=True, exclude_none=True) for one in common.tolerations
        ]
    if common.priority_class_name is not None:
        found["priorityClassName"] = common.priority_class_name
    if common.image_pull_secrets:
        found["imagePullSecrets"] = [{"name": name} for name in common.image_pull_secrets]
    return found


def secrets_digest(site: Site) -> str:
    """Changes when a Secret that the pods use does."""
    names = sorted(env.secret_names(site))
    return _digest({name: site.secrets.get(name, "absent") for name in names})


def _volumes(site: Site) -> tuple[tuple[str, str, Manifest], ...]:
    ring = {"persistentVolumeClaim": {"claimName": site.called("keys")}}
    home: Manifest = {"emptyDir": {}}
    if site.embedded:
        home = {"persistentVolumeClaim": {"claimName": site.called("data")}}
    found: list[tuple[str, str, Manifest]] = [
        ("home", env.HOME, home),
        ("keys", env.RING, ring),
        ("tmp", "/tmp", {"emptyDir": {}}),  # noqa: S108  (the root file system is read-only)
    ]
    if (ref := site.spec.api_keys) is not None:
        found.append(("api-keys", env.API_KEYS, {"secret": {"secretName": ref.name}}))
    if authorities := env.certificates(site):
        sources = [
            {
                "secret": {
                    "name": authority.name,
                    "items": [{"key": authority.key, "path": f"{part}.crt"}],
                }
            }
            for part, authority in authorities.items()
        ]
        found.append(("certificates", env.CERTIFICATES, {"projected": {"sources": sources}}))
    return tuple(found)


def _scraped() -> dict[str, str]:
    """For a Prometheus without its operator."""
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(env.PORT),
        "prometheus.io/path": "/metrics",
    }


def _probed() -> Manifest:
    return {
        "ports": [{"name": "http", "containerPort": env.PORT, "protocol": "TCP"}],
        "startupProbe": {
            "httpGet": {"path": "/healthz", "port": "http"},
            "periodSeconds": 2,
            "failureThreshold": 60,
        },
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "http"},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]
