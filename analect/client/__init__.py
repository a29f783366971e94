"""Programs talk to an Analect server with :class:`Client` or :class:`AsyncClient`."""

from analect.client.asynchronous import AsyncClient
from analect.client.options import Counters, Options, Unaccepted
from analect.client.sync import Client

__all__ = ["AsyncClient", "Client", "Counters", "Options", "Unaccepted"]
