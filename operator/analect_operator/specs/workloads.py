"""The pods of a store: how many, how large, and where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from analect_operator.specs.backends import KeyRef, Resources
from analect_operator.specs.base import (
    Count,
    Free,
    Label,
    Name,
    Spec,
    Text,
    checked,
    keyed,
)

_MIN_MAX = ("self.min <= self.max", "min must not be larger than max")
_REPLICAS_OR_AUTOSCALING = (
    "!(has(self.replicas) && has(self.autoscaling))",
    "give replicas or autoscaling, not both",
)


class CpuAutoscaling(Spec):
    """As many pods as their CPU asks for."""

    model_config = checked(_MIN_MAX)

    min: Annotated[int, Field(ge=1, le=1000)] = Field(default=2, description="Never fewer pods.")
    max: Annotated[int, Field(ge=1, le=1000)] = Field(default=10, description="Never more pods.")
    target_cpu_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        default=70, description="CPU in use, in percent of what is promised, that is aimed at."
    )


class BacklogAutoscaling(Spec):
    """As many workers as their backlog asks for."""

    model_config = checked(_MIN_MAX)

    min: Count = Field(
        default=1, description="Never fewer workers; 0 lets a queue rest without any."
    )
    max: Annotated[int, Field(ge=1, le=1000)] = Field(default=10, description="Never more workers.")
    target_backlog: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=100, description="Entries of the outbox that one worker should find waiting, about."
    )


class Exposure(Spec):
    """How the outside reaches a Service: an Ingress, or an HTTPRoute of the Gateway API."""

    host: Annotated[
        str, Field(min_length=1, max_length=253, pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    ] = Field(description="Host name that callers use.")
    ingress_class_name: Name | None = Field(
        default=None, description="Class of the Ingress; the cluster's default when not given."
    )
    tls_secret_name: Name | None = Field(
        default=None, description="Secret of type kubernetes.io/tls for this host (Ingress)."
    )
    gateway: Name | None = Field(
        default=None,
        description="Name of a Gateway of this namespace: an HTTPRoute instead of an Ingress.",
    )


class Serving(Spec):
    """Pods that answer HTTP."""

    model_config = checked(_REPLICAS_OR_AUTOSCALING)

    replicas: Count | None = Field(default=None, description="How many pods; 2 when not given.")
    autoscaling: CpuAutoscaling | None = Field(
        default=None, description="A HorizontalPodAutoscaler instead of a fixed number."
    )
    resources: Resources = Field(default=Resources(), description="What each asks for and may use.")
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", description="Type of the Service."
    )
    exposure: Exposure | None = Field(default=None, description="How the outside reaches it.")


class Dispatcher(Spec):
    """The process that moves what waits from the database into the queues."""

    replicas: Annotated[int, Field(ge=1, le=5)] = Field(
        default=1, description="How many; one leads, the others stand by."
    )
    resources: Resources = Field(default=Resources(), description="What each asks for and may use.")


class Processor(Spec):
    """Workers on the queue of one processor."""

    model_config = checked(_REPLICAS_OR_AUTOSCALING)

    name: Label = Field(
        max_length=30,
        description="The processor: `text`, `vectors`, `graph`, or one of yours. Its queue is called "
        "the same: each has one of its own, and a worker serves no other, so no field names it.",
    )
    replicas: Count | None = Field(default=None, description="How many workers; 1 when not given.")
    autoscaling: BacklogAutoscaling | None = Field(
        default=None,
        description="As many workers as the backlog asks for, instead of a fixed number.",
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Processes in each worker, which have a job each."
    )
    batch: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Records handed to the processor at once, about."
    )
    resources: Resources = Field(
        default=Resources(), description="What each worker asks for and may use."
    )


class EnvVar(Spec):
    """A further environment variable of every pod."""

    model_config = checked(
        ("has(self.value) != has(self.secretKeyRef)", "give exactly one of value, secretKeyRef"),
        (
            "!self.name.startsWith('ANALECT_DATABASE_') && !self.name.startsWith('ANALECT_KEYS_')",
            "database and keys are set through spec.database and spec.keys",
        ),
    )

    name: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    ] = Field(description="Its name.")
    value: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="Its value; nothing secret."
    )
    secret_key_ref: KeyRef | None = Field(
        default=None, description="The key of a Secret that holds it."
    )


class Toleration(Spec):
    """A taint that the pods bear."""

    key: Text | None = Field(
        default=None, description="Key of the taint; every taint when not given."
    )
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Whether the value counts (`Equal`) or not (`Exists`)."
    )
    value: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Value of the taint."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; all when not given."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=604800)] | None = Field(
        default=None, description="How long `NoExecute` is borne, in seconds."
    )


class TopologySpread(Spec):
    """Pods of one part are spread over the nodes' zones, hosts, ..."""

    topology_key: Text = Field(description="Label of nodes: `topology.kubernetes.io/zone`.")
    max_skew: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="How much fuller one place may be than another."
    )
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        default="ScheduleAnyway", description="What happens to a pod that would break it."
    )


class PodTemplate(Spec):
    """What all pods of the store have in common."""

    annotations: dict[Text, Annotated[str, Field(max_length=4096)]] = Field(
        default={}, max_length=32, description="Annotations of the pods."
    )
    labels: dict[Text, Annotated[str, Field(max_length=63)]] = Field(
        default={}, max_length=32, description="Further labels of the pods."
    )
    node_selector: dict[Text, Annotated[str, Field(max_length=63)]] = Field(
        default={}, max_length=32, description="Labels that nodes must have."
    )
    affinity: Free | None = Field(default=None, description="Affinity, as in a pod.")
    tolerations: list[Toleration] = Field(
        default=[], max_length=32, description="Taints that the pods bear."
    )
    topology_spread: list[TopologySpread] = Field(
        default=[],
        max_length=8,
        json_schema_extra=keyed("topologyKey", "whenUnsatisfiable"),
        description="How the pods are spread; over hosts, if possible, when not given.",
    )
    priority_class_name: Name | None = Field(
        default=None, description="Priority class of the pods."
    )
    image_pull_secrets: list[Name] = Field(
        default=[],
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="Secrets of type kubernetes.io/dockerconfigjson for the image.",
    )
    env: list[EnvVar] = Field(
        default=[],
        max_length=64,
        json_schema_extra=keyed("name"),
        description="Further environment variables of every pod.",
    )
    termination_grace_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=60, description="Time that a pod has to finish what is under way."
    )
