"""What the operator is told by its environment."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from analect_operator.errors import ConfigurationError

PREFIX = "ANALECT_OPERATOR_"
DEFAULT_IMAGE = "analect:0.1.0"


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """The whole of it.

    ``namespaces`` empty means all. ``service_url`` is how Services are reached, with
    ``{service}``, ``{namespace}`` and ``{port}`` in it. ``poll_seconds`` 0: stores are not asked. A watch that
    says nothing for ``silence_seconds`` is begun again. Below ``runbooks_url`` are the pages that
    alerts lead to; empty: they name the page, without an address.
    """

    image: str = DEFAULT_IMAGE
    namespaces: tuple[str, ...] = ()
    namespace: str = "default"
    identity: str = ""
    lease: str = "analect-operator"
    port: int = 8081
    host: str = "0.0.0.0"  # noqa: S104  (probes and Prometheus come from outside of the pod)
    workers: int = 8
    poll_seconds: float = 15.0
    silence_seconds: float = 90.0
    service_url: str = "http://{service}.{namespace}.svc:{port}"
    runbooks_url: str = ""
    log_level: str = "info"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> OperatorOptions:
        """``ANALECT_OPERATOR_*``.

        Raises:
            ConfigurationError: a value is wrong; the message names the variable.
        """

        def said(name: str, default: str) -> str:
            return environ.get(PREFIX + name) or default

        def number(name: str, default: float) -> float:
            try:
                return float(said(name, str(default)))
            except ValueError as error:
                raise ConfigurationError(f"{PREFIX}{name} is no number; give one") from error

        spaces = tuple(part.strip() for part in said("NAMESPACES", "").split(",") if part.strip())
        return cls(
            image=said("IMAGE", DEFAULT_IMAGE),
            namespaces=spaces,
            namespace=said("NAMESPACE", spaces[0] if spaces else "default"),
            identity=said("IDENTITY", f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"),
            lease=said("LEASE", "analect-operator"),
            port=int(number("PORT", 8081)),
            host=said("HOST", "0.0.0.0"),  # noqa: S104
            workers=int(number("WORKERS", 8)),
            poll_seconds=number("POLL_SECONDS", 15.0),
            silence_seconds=number("SILENCE_SECONDS", 90.0),
            service_url=said("SERVICE_URL", "http://{service}.{namespace}.svc:{port}"),
            runbooks_url=_address(said("RUNBOOKS_URL", "")),
            log_level=said("LOG_LEVEL", "info"),
        )


def _address(said: str) -> str:
    if said and not said.startswith(("http://", "https://")):
        raise ConfigurationError(f"{PREFIX}RUNBOOKS_URL is no address; begin it with https://")
    return said
