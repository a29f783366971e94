"""The HTTP protocol of a connection: uvicorn's, but who is still listening gets an answer."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from analect_ingest.problems import problem

CUT_OFF = "analect.cut_off"
"""In a request's scope when the caller stopped sending before its body was whole."""


class ListeningProtocol(HttpToolsProtocol):
    """A caller may close its sending half (``shutdown(SHUT_WR)``) and wait for the answer. uvicorn
    takes that for the end of the connection; here it is the end of what the caller says.
    """

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own type is bool | None
        """Whether the connection stays: yes while an answer is due that has not begun. (One that
        has begun may be a stream without an end, which is only noticed to be unwanted here.)
        """
        cycle = self.cycle
        if cycle is None or cycle.response_started:
            return False
        cycle.keep_alive = False
        if cycle.more_body:
            cycle.scope[CUT_OFF] = True  # type: ignore[literal-required]  # a key of ours
            cycle.message_event.set()
        return True

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets a problem document too."""
        answer = problem(400, "invalid_http", f"{msg} Check its head, its length and its framing.")
        head = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n%s\r\n%s" % (head, answer.body)
        )
        self.transport.close()
