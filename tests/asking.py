"""HTTP to servers on loopback, without the certificates of the world's authorities: to read them
takes 40 ms of a processor, for every client and every ``httpx.get``.
"""

from __future__ import annotations

from typing import Any

import httpx


def client(url: str, **options: Any) -> httpx.Client:
    """One for many questions; ``options`` are httpx's."""
    return httpx.Client(base_url=url, verify=False, **options)


def get(url: str, **options: Any) -> httpx.Response:
    """One question."""
    return httpx.get(url, verify=False, **options)
