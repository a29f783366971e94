"""The process: the controller until SIGTERM, probes and metrics beside it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from analect_operator.api import Api
from analect_operator.controller import Controller
from analect_operator.errors import ConfigurationError
from analect_operator.metrics import Metrics
from analect_operator.settings import OperatorOptions
from analect_operator.watching import observed

log = structlog.get_logger(__name__)

_COLLECT_AFTER = 50_000


def main() -> None:
    """The command ``analect-operator``: runs until SIGTERM."""
    try:
        options = OperatorOptions.from_environment()
        _configure_logging(options.log_level)
        whole = asyncio.run(run(options))
    except ConfigurationError as error:
        sys.exit(f"analect-operator: {error}")
    if not whole:
        sys.exit(1)


async def run(options: OperatorOptions) -> bool:
    """Run the operator until SIGTERM or SIGINT; false when a part of it broke before.

    Raises:
        ConfigurationError: there is no API server to talk to, or the port is taken.
    """
    # Objects are read by the ten thousand, and live but a moment: looking among them for cycles
    # every seven hundred takes more time than it saves memory.
    gc.set_threshold(_COLLECT_AFTER)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics()
    api = Api(metrics)
    controller = Controller(api, options, metrics, lambda: time.time_ns() // 1000, os.urandom)
    probes = await _probes(options, controller, metrics)
    await controller.start()
    waits = [loop.create_task(event.wait()) for event in (stop, controller.broken)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    log.info("stops")
    await controller.stop()
    await api.close()
    await probes.cleanup()
    return not controller.broken.is_set()


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
