"""The process: kopf brings our own resources and carries the loop; probes and metrics beside it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import kopf
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from analect_operator.api import Api, credentials
from analect_operator.controller import Controller
from analect_operator.errors import ConfigurationError
from analect_operator.metrics import Metrics
from analect_operator.settings import OperatorOptions
from analect_operator.specs.kinds import KINDS
from analect_operator.watching import observed

log = structlog.get_logger(__name__)


def main() -> None:
    """The command ``analect-operator``: runs until SIGTERM."""
    try:
        options = OperatorOptions.from_environment()
        _configure_logging(options.log_level)
        asyncio.run(run(options))
    except ConfigurationError as error:
        sys.exit(f"analect-operator: {error}")


async def run(options: OperatorOptions) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: there is no API server to talk to, or the port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings = _kopf_settings()
    metrics = Metrics()
    api = Api(settings, metrics)
    controller = Controller(api, options, metrics, lambda: time.time_ns() // 1000, os.urandom)
    probes = await _probes(options, controller, metrics)
    carried = loop.create_task(
        kopf.operator(
            registry=registry(controller.observe),
            settings=settings,
            standalone=True,
            clusterwide=not options.namespaces,
            namespaces=options.namespaces,
        )
    )
    await controller.start()
    stopping = loop.create_task(stop.wait())
    await asyncio.wait({carried, stopping}, return_when=asyncio.FIRST_COMPLETED)
    log.info("stops")
    await controller.stop()
    await api.close()
    await probes.cleanup()
    if not carried.done():
        # kopf takes seconds to let its watches go; nothing depends on it any more.
        carried.cancel()
        await asyncio.wait({carried}, timeout=0.5)
        return
    carried.result()


def registry(on_change: Callable[..., None]) -> kopf.OperatorRegistry:
    """Kopf's handlers: every event of our kinds, and nothing that kopf would write."""
    found = kopf.OperatorRegistry()

    async def login(**more: Any) -> kopf.ConnectionInfo:
        return credentials(more["settings"])

    async def event(event: Any, **_: Any) -> None:
        body = dict(event["object"])
        on_change(body, gone=event["type"] == "DELETED")

    kopf.on.login(registry=found)(login)
    for kind in KINDS:
        kopf.on.event(kind.api_version, kind.plural, registry=found)(event)
    return found


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.initial_streaming = True
    return settings


async def _probes(
    options: OperatorOptions, controller: Controller, metrics: Metrics
) -> web.AppRunner:
    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        ready = controller.synced
        body = {"ready": ready, "leads": controller.lease.leads}
        return web.json_response(body, status=200 if ready else 503)

    async def measured(_request: web.Request) -> web.Response:
        observed(controller, metrics)
        text = generate_latest(metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", measured)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {options.host} port {options.port}: {error.strerror}; set "
            "ANALECT_OPERATOR_HOST and ANALECT_OPERATOR_PORT"
        ) from error
    return runner


def _configure_logging(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigurationError(
            "ANALECT_OPERATOR_LOG_LEVEL is none of debug, info, warning, error"
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr)


if __name__ == "__main__":
    main()
