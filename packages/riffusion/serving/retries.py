"""HTTP transports that send a request again while the endpoint is unreachable or busy.

A request is repeated if the endpoint can't have worked on it: the connection failed, or the answer
was 503, which an endpoint sends before the first byte of a clip or a stream. So it is if the
process behind the endpoint's web server died before it answered, as Ray Serve's ingress does with
its node; the same request gives the same clip. Every other answer and error is the caller's.

An endpoint that can't be reached is given up after three more attempts, since its address may be
wrong; one that this transport has reached before is being started again, and is waited for. So is
one that answers 503 without saying how long, as Truss does while it loads the model. After the
death of a process there are three more attempts, since the request may be the cause.

How long a request may wait in total is a property of the request: its extension `retry_budget_s`,
in seconds, which `Endpoint.request` sets. Requests without the extension are sent once. Bodies must
be bytes, so that they can be sent again.
"""

import asyncio
import logging
import random
import time

import httpx

logger = logging.getLogger(__name__)

BUDGET_EXTENSION = "retry_budget_s"
ANSWER_TIMEOUT_EXTENSION = "answer_timeout_s"
"""Extension of a request with asyncio: the longest time for an answer, in seconds. The body of the
response, which this module does not read, must be complete at `DEADLINE_EXTENSION`."""
DEADLINE_EXTENSION = "deadline_s"
"""Extension that is added to such a request: its deadline by the event loop's clock."""
_DELAYS_S = (0.25, 0.5, 1.0)
"""Delays where the endpoint doesn't send Retry-After; the last one is repeated while it starts."""
_JITTER = 0.25
"""Delays are longer by a random share of up to this, so that clients don't return in step."""


class Retries:
    """The retries of one request: whether to send it again, and after which delay.

    Args:
        budget_s: sum of all delays, in seconds.
        was_reached: whether the endpoint has answered before.
        rng: source of the jitter.
    """

    def __init__(
        self, budget_s: float, was_reached: bool = False, rng: random.Random | None = None
    ) -> None:
        self._left_s = budget_s
        self._end_s = time.monotonic() + budget_s
        self._delays_s = iter(_DELAYS_S)
        self._delays_after_deaths_s = iter(_DELAYS_S)
        self._was_reached = was_reached
        self._rng = rng or random.Random()

    def delay_after(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds to wait before the next attempt; None if `outcome` is final."""
        if isinstance(outcome, httpx.TransportError):
            return self._delay_before_connecting() if is_unsent(outcome) else None
        if _is_unanswered(outcome):
            return self._spend(next(self._delays_after_deaths_s, None))
        if outcome.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return None
        self._was_reached = True
        retry_after = outcome.headers.get("Retry-After", "")
        if retry_after.isdecimal():
            return self._spend(float(retry_after))
        return self._spend(self._next_delay_s())

    def _delay_before_connecting(self) -> float | None:
        """As `delay_after`; an attempt takes time, too, if nothing refuses it."""
        return self._spend(self._next_delay_s()) if time.monotonic() < self._end_s else None

    def _next_delay_s(self) -> float | None:
        return next(self._delays_s, _DELAYS_S[-1] if self._was_reached else None)

    def _spend(self, delay_s: float | None) -> float | None:
        """The delay with jitter, taken from the budget; None if the budget is too small."""
        if delay_s is None:
            return None
        delay_s *= 1 + _JITTER * self._rng.random()
        if delay_s > self._left_s:
            return None
        self._left_s -= delay_s
        return delay_s


class RetryTransport(httpx.BaseTransport):
    """Sends requests by another transport, and again by the rules of `Retries`."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport
        self._was_reached = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The first final response; its body is not read yet.

        Raises:
            httpx.TransportError: the last attempt failed.
        """
        retries = _retries_of(request, self._was_reached)
        while True:
            try:
                response = self._transport.handle_request(request)
            except httpx.TransportError as error:
                if (delay_s := retries.delay_after(error)) is None:
                    raise
            else:
                self._was_reached = True
                if (delay_s := retries.delay_after(response)) is None:
                    return response
                response.close()
            _log_retry(request, delay_s)
            time.sleep(delay_s)

    def close(self) -> None:
        """Close the other transport."""
        self._transport.close()


class AsyncRetryTransport(httpx.AsyncBaseTransport):
    """`RetryTransport` for asyncio."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport
        self._was_reached = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As `RetryTransport.handle_request`."""
        retries = _retries_of(request, self._was_reached)
        while True:
            try:
                response = await self._attempt(request)
            except httpx.TransportError as error:
                if (delay_s := retries.delay_after(error)) is None:
                    raise
            else:
                self._was_reached = True
                if (delay_s := retries.delay_after(response)) is None:
                    return response
                await response.aclose()
            _log_retry(request, delay_s)
            await asyncio.sleep(delay_s)

    async def _attempt(self, request: httpx.Request) -> httpx.Response:
        """The response to one attempt; its head must arrive before the deadline."""
        timeout_s = request.extensions.get(ANSWER_TIMEOUT_EXTENSION)
        if timeout_s is None:
            return await self._transport.handle_async_request(request)
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        request.extensions[DEADLINE_EXTENSION] = deadline_s
        try:
            async with asyncio.timeout_at(deadline_s):
                return await self._transport.handle_async_request(request)
        except TimeoutError as error:
            raise httpx.ReadTimeout("", request=request) from error

    async def aclose(self) -> None:
        """Close the other transport."""
        await self._transport.aclose()


def is_unsent(error: httpx.RequestError) -> bool:
    """Whether the request cannot have reached the server."""
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def _is_unanswered(response: httpx.Response) -> bool:
    """Whether it is the web server's own, as the application behind it has sent none.

    uvicorn, which Ray Serve's proxies run on, sends it as text and closes the connection.
    """
    return (
        response.status_code == httpx.codes.INTERNAL_SERVER_ERROR
        and response.headers.get("Content-Type", "").startswith("text/plain")
        and response.headers.get("Connection", "").lower() == "close"
    )


def _retries_of(request: httpx.Request, was_reached: bool) -> Retries:
    return Retries(request.extensions.get(BUDGET_EXTENSION, 0.0), was_reached)


def _log_retry(request: httpx.Request, delay_s: float) -> None:
    logger.info("%s is busy or unreachable; retrying in %.1f s", request.url.host, delay_s)
