"""Request bodies, read within bounds."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from analect.model.errors import InvalidQuery, TooLarge
from analect_ingest.admission import Ticket
from analect_ingest.protocol import CUT_OFF


class Disconnected(Exception):
    """The caller went away in the middle of its body."""


async def read_body(scope: Scope, receive: Receive, ticket: Ticket, most: int) -> bytes:
    """The whole body as sent.

    The declared length is admitted before the first byte is read; what is not declared is
    admitted as it comes.

    Raises:
        TooLarge: over ``most`` bytes.
        Overloaded: there is no room for it now.
        InvalidQuery: it is not as long as it said, or it broke off.
        Disconnected: nobody is there to hear an answer.
    """
    declared = _declared(Headers(scope=scope))
    if declared is not None:
        _bound(declared, most)
        ticket.hold(declared)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece = message.get("body", b"")
        more = message.get("more_body", False)
        if more and CUT_OFF in scope:
            raise InvalidQuery(
                "the body broke off before its end, so nothing was stored: send it whole",
                field="body",
            )
        size += len(piece)
        _bound(size, most)
        ticket.hold(size)
        parts.append(piece)
    if declared is not None and size != declared:
        raise InvalidQuery("the body is not as long as its Content-Length says", field="body")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _declared(headers: Headers) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidQuery("Content-Length is no number", field="Content-Length")
    return int(text)


def _bound(size: int, most: int) -> None:
    if size > most:
        raise TooLarge(
            f"the body is over {most} bytes (http.max_body_bytes): send fewer records at once",
            field="body",
        )
