"""Why pods are not ready, in their own words: what a person would look for in `kubectl describe`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from analect_operator.api import Api
from analect_operator.resources import PODS

Body = dict[str, Any]

COMPONENT = "app.kubernetes.io/component"
_LONGEST = 600
_PULLS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_PATIENT = frozenset({"ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
"""A beginning; or what came before says more."""
_OVER = ("Succeeded", "Failed")


def complaints(pods: Iterable[Body]) -> dict[str, str]:
    """What is wrong, by component: of its newest pod that has something to say. The words stay the
    same while the reason does, so that a status is not written again and again.
    """
    found: dict[str, str] = {}
    newest = sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)
    for pod in newest:
        meta, status = pod["metadata"], pod.get("status", {})
        component = meta.get("labels", {}).get(COMPONENT)
        if component in found or "deletionTimestamp" in meta or status.get("phase") in _OVER:
            continue
        said = next(_said(pod, status), None)
        if said is not None:
            found[component] = said
    return found


async def termination_message(api: Api, namespace: str, job_uid: str) -> str:
    """What the last pod of a Job left behind as it ended; nothing when it is gone."""
    label = f"batch.kubernetes.io/controller-uid={job_uid}"
    pods = await api.items(PODS, namespace, labelSelector=label)
    said = [
        (state.get("finishedAt") or "", state.get("message", ""))
        for pod in pods
        for container in pod.get("status", {}).get("containerStatuses", ())
        if (state := container.get("state", {}).get("terminated")) is not None
    ]
    return max(said, default=("", ""))[1].strip()


def last_line(words: str) -> str:
    """Of a message the last line: those before it are the log."""
    lines = [line for line in words.splitlines() if line.strip()]
    return _short(lines[-1]) if lines else ""


def _said(pod: Body, status: Mapping[str, Any]) -> Iterator[str]:
    name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
    for one in status.get("conditions", ()):
        if one["type"] == "PodScheduled" and one["status"] == "False" and one.get("message"):
            yield f"pod {name} finds no node: {_short(one['message'])}"
    for one in status.get("containerStatuses", ()):
        if one.get("ready"):
            continue
        state = one.get("state", {})
        waits = state.get("waiting") or {}
        if (reason := waits.get("reason", "")) in _PULLS:
            yield (
                f"the image {one['image']} cannot be pulled; `kubectl -n {space} describe pod "
                f"{name}` says why"
            )
        elif reason and reason not in _PATIENT:
            yield f"pod {name}: {reason}: {_short(waits.get('message', ''))}"
        ended = state.get("terminated") or one.get("lastState", {}).get("terminated")
        if ended is not None:
            yield f"pod {name} ended: {_last_words(ended)}"


def _last_words(ended: Mapping[str, Any]) -> str:
    if ended.get("reason") == "OOMKilled":
        return "it used more memory than its limit (OOMKilled); give it more"
    without = f"with exit code {ended.get('exitCode')}, without a word"
    return last_line(ended.get("message") or "") or without


def _short(text: str) -> str:
    return text.strip()[:_LONGEST]
