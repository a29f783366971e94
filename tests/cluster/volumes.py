"""What a pod is given: its environment and the folders of its volumes, as its spec says."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from tests.cluster.plane import Api

Body = dict[str, Any]
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class Absent(Exception):
    """Something that a pod names is not there yet."""


class Given:
    """Looks up what the spec of one pod names."""

    def __init__(self, api: Api, pod: Body, folder: Path) -> None:
        self._api = api
        self._pod = pod
        self._folder = folder
        self._namespace: str = pod["metadata"]["namespace"]

    def environment(self, container: Body) -> dict[str, str]:
        """The variables of a container.

        Raises:
            Absent: a Secret or ConfigMap, or a key of it.
        """
        found: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            values = self._map(source["configMapRef"]["name"])
            found |= {name: value.decode() for name, value in values.items()}
        for one in container.get("env", ()):
            value = self._value(one)
            found[one["name"]] = _REFERENCE.sub(
                lambda hit: found.get(hit[1], hit[0]),  # what is not known stays as it is
                value,
            )
        return found

    def volume(self, name: str) -> tuple[Path, bool]:
        """The folder of a volume, and whether it may only be read.

        Raises:
            Absent: a Secret, a ConfigMap, or the volume of a claim.
        """
        (spec,) = (one for one in self._pod["spec"]["volumes"] if one["name"] == name)
        if "persistentVolumeClaim" in spec:
            return self._claimed(spec["persistentVolumeClaim"]["claimName"]), False
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in spec:
            return folder, False
        sources = spec["projected"]["sources"] if "projected" in spec else [spec]
        for source in sources:
            for path, content in self._files(source).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
        return folder, True

    def _files(self, source: Body) -> dict[str, bytes]:
        if "serviceAccountToken" in source:
            return {source["serviceAccountToken"]["path"]: self._token().encode()}
        if "downwardAPI" in source:
            items = source["downwardAPI"]["items"]
            return {
                one["path"]: self._field(one["fieldRef"]["fieldPath"]).encode() for one in items
            }
        if "secret" in source:
            said = source["secret"]
            values = self._secret(said.get("secretName") or said["name"])
        else:
            said = source["configMap"]
            values = self._map(said["name"])
        if "items" not in said:
            return values
        return {one["path"]: _key(values, one["key"]) for one in said["items"]}

    def _value(self, one: Body) -> str:
        source = one.get("valueFrom")
        if source is None:
            return str(one.get("value", ""))
        if "fieldRef" in source:
            return self._field(source["fieldRef"]["fieldPath"])
        if "secretKeyRef" in source:
            ref = source["secretKeyRef"]
            return _key(self._secret(ref["name"]), ref["key"]).decode()
        ref = source["configMapKeyRef"]
        return _key(self._map(ref["name"]), ref["key"]).decode()

    def _field(self, path: str) -> str:
        value: Any = self._pod
        for part in path.split("."):
            value = value[part]
        return str(value)

    def _secret(self, name: str) -> dict[str, bytes]:
        body = self._get("secrets", name)
        return {key: base64.b64decode(text) for key, text in body.get("data", {}).items()}

    def _map(self, name: str) -> dict[str, bytes]:
        body = self._get("configmaps", name)
        return {key: text.encode() for key, text in body.get("data", {}).items()}

    def _claimed(self, claim: str) -> Path:
        name = self._get("persistentvolumeclaims", claim).get("spec", {}).get("volumeName")
        volume = self._api.get(f"/api/v1/persistentvolumes/{name}") if name else None
        if volume is None:
            raise Absent(f"the volume of the claim {claim}")
        folder = Path(volume["spec"]["hostPath"]["path"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _token(self) -> str:
        account = self._pod["spec"]["serviceAccountName"]
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{account}/token"
        answer = self._api.call("POST", path, {"spec": {"expirationSeconds": 3600}})
        token: str = answer["status"]["token"]
        return token

    def _get(self, plural: str, name: str) -> Body:
        found = self._api.get(f"/api/v1/namespaces/{self._namespace}/{plural}/{name}")
        if found is None:
            raise Absent(f"{plural} {name}")
        return found


def _key(values: dict[str, bytes], key: str) -> bytes:
    if key not in values:
        raise Absent(f"key {key}")
    return values[key]
