"""What a command loads before it does anything: every user waits for it, each time."""

from __future__ import annotations

import subprocess
import sys

SLOW = ("alembic", "duckdb", "httpx", "neo4j", "numpy", "opensearchpy", "pyarrow", "stamina")


def test_what_only_some_commands_need_is_not_loaded_by_all() -> None:
    program = f"""
import sys
import analect.cli.app, analect.service
print([name for name in {SLOW} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
