"""Who a worker is, and whether one of this machine is still alive."""

from __future__ import annotations

import gc
import os
import socket

from analect.model.ids import Clock
from analect.store.outbox import Outbox

_COLLECT_AFTER = 20_000
"""Objects more than went away; a batch of 500 records is some thousands."""


def spare_the_collector() -> None:
    """What the process is made of stays: let the collector of cycles pass over it from now on, and
    look only now and then at what batches of records leave behind, which is hardly ever a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def worker_name() -> str:
    """This process, as it stands in a claim: host and process id."""
    return f"{socket.gethostname()}-{os.getpid()}"


def release_dead(outbox: Outbox, clock: Clock) -> int:
    """Give back the claims of processes of this machine that are gone, this one's predecessor of
    the same number included, so that nobody waits for a lease to end; how many entries.

    To be called before this process claims anything. Another machine's workers are left to their
    leases.
    """
    host = socket.gethostname()
    released = 0
    for name in outbox.claimants():
        place, _, number = name.rpartition("-")
        if place == host and number.isdigit() and not _others_alive(int(number)):
            released += outbox.release_of(name, clock())
    return released


def _others_alive(process_id: int) -> bool:
    """Whether another process than this one has the number."""
    if process_id == os.getpid():
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
