"""A server as a process of this one: it never outlives it, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

READY_SECONDS = 110
_STOP_SECONDS = 30
_PR_SET_PDEATHSIG = 1


def as_nobody_special() -> list[str]:
    """What to put before a command that refuses to run as root: a user namespace shows it another
    user, while its files stay root's.
    """
    if os.getuid() != 0:
        return []
    return ["unshare", "--map-user=1000", "--map-group=1000", "--"]


class Launched:
    """A command that was started; its output goes to ``log``.

    Start it from the main thread: the kernel ends it with the thread that started it.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        libc = ctypes.CDLL(None)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=None if environment is None else {**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt at the terminal is pytest's to handle
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509  (takes no lock)
            )

    def wait(self, ready: Callable[[], bool]) -> None:
        """Until it is ready.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"it ended: {self._tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"not ready after {READY_SECONDS} s: {self._tail()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(_STOP_SECONDS)

    def freeze(self) -> None:
        """SIGSTOP: it takes connections, and says nothing until it is thawed."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def _tail(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-30:])
