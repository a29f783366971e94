"""What runs all the time: Deployments, their Services, disruption budgets and autoscalers."""

from __future__ import annotations

from collections.abc import Iterator

from analect_operator.build import environment as env
from analect_operator.build import pods
from analect_operator.build.site import Manifest, Site
from analect_operator.specs.backends import Resources
from analect_operator.specs.workloads import BacklogAutoscaling, Processor, Serving

SERVING = ("ingest", "query")
_REPLICAS = 2


def processors(site: Site) -> tuple[Processor, ...]:
    """The groups of workers: those of the spec, or those that its engines need."""
    spec = site.spec
    if spec.processors:
        return tuple(spec.processors)
    names = (("text", "vectors") if spec.search else ()) + (("graph",) if spec.graph else ())
    return tuple(Processor(name=name) for name in names)


def workloads(site: Site) -> Iterator[Manifest]:
    """Deployments, Services, PDBs, autoscalers of a store that stands on servers."""
    spec = site.spec
    for role, serving in ((SERVING[0], spec.ingest), (SERVING[1], spec.query)):
        writes_stopped = role == "ingest" and (spec.mode == "ReadOnly" or site.writers_stopped)
        still = site.stopped or writes_stopped
        yield _deployment(
            site,
            role,
            ["analect", "serve", "--role", role],
            serving.resources,
            replicas=0 if still else replicas(serving),
        )
        yield service(site, role, serving)
        yield _budget(site, role)
        if serving.autoscaling is not None and not still:
            yield _autoscaler(site, role, serving)
    yield _deployment(
        site,
        "dispatcher",
        ["analect", "dispatch"],
        spec.dispatcher.resources,
        replicas=0 if site.stopped or site.writers_stopped else spec.dispatcher.replicas,
    )
    yield service(site, "dispatcher", Serving())
    if spec.dispatcher.replicas > 1:
        yield _budget(site, "dispatcher")
    for processor in processors(site):
        yield from _workers(site, processor)


def replicas(serving: Serving) -> int | None:
    """How many pods; None where an autoscaler decides."""
    if serving.autoscaling is not None:
        return None
    return _REPLICAS if serving.replicas is None else serving.replicas


def worker(processor: str) -> str:
    """The component of a group of workers."""
    return f"worker-{processor}"


def workers(site: Site, processor: Processor) -> int:
    """How many workers there are to be now; where KEDA decides, how many at the most."""
    scaled = processor.autoscaling
    if site.stopped or site.writers_stopped:
        return 0
    if scaled is None or site.cluster.keda:
        return _most(processor)
    found = site.workers.get(processor.name, max(scaled.min, 1))
    return min(max(found, scaled.min), scaled.max)


def _most(processor: Processor) -> int:
    if processor.autoscaling is not None:
        return processor.autoscaling.max
    return 1 if processor.replicas is None else processor.replicas


def _workers(site: Site, processor: Processor) -> Iterator[Manifest]:
    component = worker(processor.name)
    scaled = processor.autoscaling
    made = _deployment(
        site,
        component,
        ["analect", "work", processor.name],
        processor.resources,
        replicas=workers(site, processor),
    )
    if more := dict(_paced(processor)):
        container = made["spec"]["template"]["spec"]["containers"][0]
        pace = [{"name": name, "value": value} for name, value in more.items()]
        container["env"] = [*container["env"], *pace]
    still = site.stopped or site.writers_stopped
    if scaled is not None and site.cluster.keda and not still:
        del made["spec"]["replicas"]
        yield from _scaled_by_keda(site, processor.name, scaled)
    yield made
    if _most(processor) > 1:
        yield _budget(site, component)


def _paced(processor: Processor) -> Iterator[tuple[str, str]]:
    """How much of its work a worker does at once."""
    if processor.batch is not None:
        yield "ANALECT_PROCESSING__BATCH_SIZE", str(processor.batch)
    if processor.concurrency > 1:
        yield "ANALECT_QUEUE__WORKER", "pool"
        yield "ANALECT_QUEUE__PROCESSES", str(processor.concurrency)


def _scaled_by_keda(site: Site, processor: str, scaling: BacklogAutoscaling) -> Iterator[Manifest]:
    """KEDA asks the dispatcher for the backlog, with the operator's key."""
    component = worker(processor)
    api, key = "keda.sh/v1alpha1", {"parameter": "token", "name": site.secret, "key": "api-key"}
    body: Manifest = {"secretTargetRef": [key]}
    yield site.manifest(api, "TriggerAuthentication", component, component, {"spec": body})
    address = f"http://{site.called('dispatcher')}.{site.namespace}.svc:{env.PORT}/v1/status"
    trigger = {
        "type": "metrics-api",
        "metadata": {
            "url": address,
            "valueLocation": f"processors.{processor}.entries",
            "targetValue": str(scaling.target_backlog),
            "authMode": "bearer",
        },
        "authenticationRef": {"name": site.called(component)},
    }
    body = {
        "scaleTargetRef": {"name": site.called(component)},
        "minReplicaCount": scaling.min,
        "maxReplicaCount": scaling.max,
        "triggers": [trigger],
    }
    yield site.manifest(api, "ScaledObject", component, component, {"spec": body})


def _deployment(
    site: Site, component: str, command: list[str], resources: Resources, replicas: int | None
) -> Manifest:
    body: Manifest = {
        "selector": {"matchLabels": site.selector(component)},
        "revisionHistoryLimit": 3,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "template": pods.template(site, component, command, resources),
    }
    if replicas is not None:
        body["replicas"] = replicas
    return site.manifest("apps/v1", "Deployment", component, component, {"spec": body})


def service(site: Site, component: str, serving: Serving) -> Manifest:
    """The Service of pods that answer HTTP."""
    return site.manifest(
        "v1",
        "Service",
        component,
        component,
        {
            "spec": {
                "type": serving.service_type,
                "selector": site.selector(component),
                "ports": [
                    {"name": "http", "port": env.PORT, "protocol": "TCP", "targetPort": "http"}
                ],
            }
        },
    )


def _budget(site: Site, component: str) -> Manifest:
    """One pod at a time: by how many may be away, so that the last one never holds up a drain."""
    body = {"maxUnavailable": 1, "selector": {"matchLabels": site.selector(component)}}
    return site.manifest("policy/v1", "PodDisruptionBudget", component, component, {"spec": body})


def _autoscaler(site: Site, component: str, serving: Serving) -> Manifest:
    scaling = serving.autoscaling
    assert scaling is not None  # noqa: S101  (the caller looked)
    target = {"type": "Utilization", "averageUtilization": scaling.target_cpu_percent}
    body = {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": site.called(component),
        },
        "minReplicas": scaling.min,
        "maxReplicas": scaling.max,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return site.manifest(
        "autoscaling/v2", "HorizontalPodAutoscaler", component, component, {"spec": body}
    )
