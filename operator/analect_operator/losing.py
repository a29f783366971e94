"""What a store cannot do without and nobody can make again: where it is gone, nothing is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analect_operator.api import Api
from analect_operator.build.environment import backends
from analect_operator.build.site import Site
from analect_operator.children import Child, Children
from analect_operator.conditions import Verdict, no
from analect_operator.resources import Ref
from analect_operator.world import Secrets

AGAIN_SECONDS = 30.0
"""A claim that somebody puts back has no label of ours, so no watch tells of it."""
_HOLDS = {
    "keys": "the key ring, without which no copy of the data can be read",
    "data": "the database of the store",
}


def volumes(site: Site, children: Children, before: Mapping[str, str]) -> dict[str, str]:
    """The volumes of what cannot be made again, as they were last seen bound, by part."""
    found = dict(before)
    for part in _HOLDS:
        child = _claim(site, children, part)
        if child is not None and child.volume is not None and not child.deleting:
            found[part] = child.volume
    return found


@dataclass(frozen=True, slots=True)
class Losses:
    """Looks for what is gone; ``later`` asks for another look at a store."""

    api: Api
    children: Children
    secrets: Secrets
    later: Callable[[Ref, float], None]

    async def found(self, site: Site, status: Mapping[str, Any]) -> Verdict | None:
        """What to say where something is gone; None where everything is there, or may be made.

        Raises:
            ApiError: the API server does not say whether it is.
        """
        for part, volume in sorted(status.get("volumes", {}).items()):
            if part in _HOLDS and (lost := await self._volume(site, part, volume)) is not None:
                self.later(Ref(site.namespace, "AnalysisStore", site.name), AGAIN_SECONDS)
                return lost
        return await self._secret(site)

    async def _volume(self, site: Site, part: str, volume: str) -> Verdict | None:
        """With an empty one in its place the store would begin anew, or never open again."""
        name = f"{site.namespace}/{site.called(part)}"
        child = _claim(site, self.children, part)
        if child is not None and child.deleting:
            text = (
                f"the volume claim {name} is being deleted, and goes when the last pod that uses it "
                f"does; it holds {_HOLDS[part]}. Keep the volume now: `kubectl patch pv {volume} "
                """--patch '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'`. Nothing is """
                "changed until then, for a pod that is replaced lets it go"
            )
            return no("Ready", "VolumeLeaving", text)
        if child is not None:
            return None
        claim = Ref(site.namespace, "PersistentVolumeClaim", site.called(part))
        if await self.api.get(claim) is not None:
            # The watch is late, or it was put back without a label of ours.
            return None
        text = (
            f"the volume claim {name} is gone; its volume {volume} held {_HOLDS[part]}. Make the "
            "claim again, bound to that volume or to a copy of it; see the runbook "
            "AnalectStoreNotReady. Nothing is changed until then; if nothing of the data is needed, "
            "delete the store and its volume claims"
        )
        return no("Ready", "VolumeLost", text)

    async def _secret(self, site: Site) -> Verdict | None:
        """With another one what is in the volumes could not be read, and what is written would be
        sealed anew.
        """
        if self.secrets.keys(site.namespace, site.secret) is not None:
            return None
        ring = _claim(site, self.children, "keys")
        if ring is None or ring.deleting or ring.owner not in {None, site.uid}:
            return None
        managed = any(one.managed is not None for one in backends(site).values())
        if site.spec.keys.kek_secret_ref is not None and not managed:
            return None
        ref = Ref(site.namespace, "Secret", site.secret)
        if (found := await self.api.get(ref)) is not None:
            # The watch is late.
            self.secrets.observe(found, gone=False)
            return None
        text = (
            f"the secret {site.namespace}/{site.secret} is gone, and with it the keys and passwords "
            "of what is in the volumes: put back the copy that you keep. Nothing is changed until "
            "then; if nothing of the data is needed, delete the store and its volume claims"
        )
        return no("Ready", "SecretLost", text)


def _claim(site: Site, children: Children, part: str) -> Child | None:
    return children.get(Ref(site.namespace, "PersistentVolumeClaim", site.called(part)))
