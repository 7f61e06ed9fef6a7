"""HTTP/1.1 for clients that close their sending side after the request and wait for the answer.

uvicorn takes the end of the client's bytes for the end of the client. But `nc -N`, and programs
that call `shutdown(SHUT_WR)`, still read. The end looks the same to the server in both cases, until
it sends something: the system of a client that has left answers with a reset. So an interim
response `100 Continue` is sent, which clients skip (RFC 9110, section 15.2), and repeated while the
answer is being made. It fails if the client has left, and the request ends as before.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_PROBE_S = (0.02, 0.2)
"""Delays of the first two probes: the first provokes the reset, the second meets it."""
_PROBE_INTERVAL_S = 1.0
"""Delay of all further ones."""


class HalfCloseH11Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol; a client that stops sending keeps its connection."""

    _probe: asyncio.TimerHandle | None = None

    def eof_received(self) -> bool | None:  # type: ignore[override] # uvicorn returns None
        """Keep the connection if a complete request waits for its answer."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete:
            return None  # the transport closes itself
        if self.conn.their_http_version != b"1.1":
            return None  # HTTP/1.0 has no interim responses
        cycle.keep_alive = False
        self._send_probe(0)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request and its probes."""
        if self._probe is not None:
            self._probe.cancel()
        super().connection_lost(exc)

    def _send_probe(self, count: int) -> None:
        if self.transport.is_closing() or self.cycle.response_complete:
            return
        if count > 0 and not self.cycle.response_started:
            interim = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self.transport.write(self.conn.send(interim) or b"")
        delay_s = _PROBE_S[count] if count < len(_PROBE_S) else _PROBE_INTERVAL_S
        self._probe = self.loop.call_later(delay_s, self._send_probe, count + 1)
