"""Logs and metrics. Neither ever sees a payload, a query, a token or an id of anyone's."""

from analect.telemetry.logs import configure_logging
from analect.telemetry.metrics import Telemetry

__all__ = ["Telemetry", "configure_logging"]
