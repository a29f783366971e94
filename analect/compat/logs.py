"""Where log lines go in a program that knows nothing of structlog."""

from __future__ import annotations

import structlog

from analect.telemetry.logs import redact, render_json, without_tracebacks_of_values


def log_as_the_program_does() -> None:
    """Hand log lines to the standard library's ``logging``, whose handlers and levels the program
    set; unconfigured, structlog would print them among its output. Where the program configured
    structlog, that holds.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            without_tracebacks_of_values,
            redact,
            render_json,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
