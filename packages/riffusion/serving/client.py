"""Client of an inference endpoint: the local Truss server, or a hosted deployment of the bundle."""

import json
import logging
import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import httpx

from riffusion.errors import EndpointError
from riffusion.serving.addresses import DEFAULT_HOST, DEFAULT_PORT, PREDICT_PATH, is_loopback
from riffusion.serving.answer_body import error_from, error_in, read_body, read_lines
from riffusion.serving.answer_limit import AnswerLimit
from riffusion.serving.request_deadline import deadline_in
from riffusion.serving.retries import (
    ANSWER_TIMEOUT_EXTENSION,
    BUDGET_EXTENSION,
    AsyncRetryTransport,
    RetryTransport,
    is_unsent,
)

logger = logging.getLogger(__name__)

DEFAULT_URL = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}{PREDICT_PATH}"
DEFAULT_TIMEOUT_S = 600.0
DEFAULT_RETRY_BUDGET_S = 30.0
API_KEY_VARIABLES = ("RIFFUSION_API_KEY", "BASETEN_API_KEY")
JSON = "application/json"
MSGPACK = "application/octet-stream"
"""Content types of requests; the Truss server answers in the type of the request."""
_CONNECT_TIMEOUT_S = 5.0
IDLE_S = 2.0
"""Connections that were idle for so long aren't used again. Servers close them (uvicorn's after
5 s), and a request that crosses the end of its connection gets no answer."""
_CONNECTION_LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=16, keepalive_expiry=IDLE_S
)


class Endpoint:
    """An inference endpoint: its address, API key and timeouts.

    Args:
        url: address of the endpoint. If its path ends in `predict`, it is used unchanged; otherwise
            the Truss server's predict path is appended.
        api_key: sent in the Authorization header. Default: the value of `RIFFUSION_API_KEY` or
            `BASETEN_API_KEY` in the environment, which is never sent unencrypted to another
            machine.
        timeout_s: limit for the whole answer or, in a stream, for the time to the next event.
        retry_budget_s: total time to wait between attempts while the endpoint is unreachable or
            busy (503), for a request with `deadline_s` at most that long. A request that the
            endpoint may have worked on is not repeated.

    Raises:
        EndpointError: the URL is not valid.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry_budget_s: float = DEFAULT_RETRY_BUDGET_S,
    ) -> None:
        self.predict_url = predict_url(url)
        self.is_local = is_loopback(self.predict_url.host)
        self.timeout_s = timeout_s
        self.timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S, pool=None)
        self.retry_budget_s = retry_budget_s
        key = api_key or self._key_from_environment()
        self._headers = {"Authorization": f"Api-Key {key}"} if key else {}

    def __repr__(self) -> str:
        return f"Endpoint({self.shown_url!r})"  # without the key

    @property
    def shown_url(self) -> str:
        """The address without any credentials, for messages and logs."""
        return str(self.predict_url.copy_with(userinfo=b"", query=None))

    @property
    def ready_url(self) -> httpx.URL | None:
        """Where a Truss server reports whether its model is loaded; None for other addresses."""
        base, colon, method = str(self.predict_url).rpartition(":")
        return httpx.URL(base) if colon and method == "predict" else None

    @property
    def metrics_url(self) -> httpx.URL | None:
        """Metrics of a Truss server on this machine; None for a hosted one, which hides them."""
        return self.predict_url.join("/metrics/") if self.is_local and self.ready_url else None

    def request(self, body: bytes, content_type: str = JSON) -> httpx.Request:
        """The HTTP request for `body`, including the API key, timeouts and retry budget."""
        headers = {"Content-Type": content_type, **self._headers}
        deadline_s = deadline_in(body)
        budget_s = self.retry_budget_s
        extensions = {
            "timeout": self.timeout.as_dict(),
            BUDGET_EXTENSION: budget_s if deadline_s is None else min(budget_s, deadline_s),
            ANSWER_TIMEOUT_EXTENSION: self.timeout_s,
        }
        return httpx.Request(
            "POST", self.predict_url, content=body, headers=headers, extensions=extensions
        )

    def client(self) -> httpx.Client:
        """An HTTP client that retries the requests of this endpoint."""
        trust_env = not self.is_local
        transport = httpx.HTTPTransport(
            trust_env=trust_env, proxy=self._proxy(), limits=_CONNECTION_LIMITS
        )
        return httpx.Client(transport=RetryTransport(transport), trust_env=trust_env)

    def async_client(self) -> httpx.AsyncClient:
        """`client` for asyncio, with any number of connections."""
        trust_env = not self.is_local
        transport = httpx.AsyncHTTPTransport(
            trust_env=trust_env, proxy=self._proxy(), limits=_CONNECTION_LIMITS
        )
        return httpx.AsyncClient(transport=AsyncRetryTransport(transport), trust_env=trust_env)

    def predict(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Generate one clip.

        Raises:
            EndpointError: the endpoint can't be reached, took too long, or answered with an error;
                then `status` and the message are the endpoint's.
        """
        with self._answer(payload) as (response, limit):
            body = read_body(response)
            limit.check()  # a body without a length ends with the connection
            return self._object_from(body)

    def stream(self, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Generate one clip and yield its events: `progress` ones, then `result`.

        Raises:
            EndpointError: as `predict`, or the stream ended with an error or without a result.
        """
        is_first = True
        with self._answer({**payload, "stream": True}) as (response, limit):
            for line in read_lines(response):
                limit.stop()  # the caller may take any time
                event = self._object_from(line, is_first)
                is_first = False
                if event.get("event") == "error":
                    message = error_in(event) or "the endpoint's error event has no message"
                    raise EndpointError(message, status=response.status_code)
                yield event
                if event.get("event") == "result":
                    return
                limit.restart()
            raise EndpointError(f"endpoint={self.shown_url} ended its stream without a result")

    def unreachable(self, error: httpx.RequestError) -> EndpointError:
        """The exception for a request that got no response, or a part of one."""
        if isinstance(error, httpx.TimeoutException) and not is_unsent(error):
            return EndpointError(
                f"endpoint={self.shown_url} did not answer within {self.timeout_s:g} s; "
                "try again, or allow more time",
                status=504,
            )
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx.DecodingError):
            return EndpointError(
                f"endpoint={self.shown_url} sent an answer that cannot be read: {reason}; is it a "
                "Riffusion endpoint?",
                502,
            )
        if not is_unsent(error):
            return EndpointError(
                f"endpoint={self.shown_url} broke off its answer: {reason}; try again, or look at "
                "its log",
                502,
            )
        remedy = "start it with `riffusion serve`" if self.is_local else "check the address"
        return EndpointError(f"endpoint={self.shown_url} is out of reach: {reason}; {remedy}", 502)

    @contextmanager
    def _answer(self, payload: Mapping[str, Any]) -> Iterator[tuple[httpx.Response, AnswerLimit]]:
        """The successful response to `payload`, whose body is not read yet, and its time limit.

        Errors of httpx inside the context, also while the body is read, become `EndpointError`.
        """
        request = self.request(json.dumps(payload).encode())
        with AnswerLimit(self.timeout_s) as limit, self.client() as client:
            request.extensions["trace"] = limit.trace
            try:
                with closing(client.send(request, stream=True)) as response:
                    if not response.is_success:
                        raise error_from(response, self.shown_url)
                    yield response, limit
            except (httpx.RequestError, EndpointError) as error:
                if limit.has_expired:
                    raise self.unreachable(httpx.ReadTimeout("")) from error
                if isinstance(error, EndpointError):
                    raise
                raise self.unreachable(error) from error

    def _object_from(self, body: bytes, is_first: bool = True) -> dict[str, Any]:
        """The JSON object in a response or, if it isn't the first, in a line of a stream."""
        try:
            values = json.loads(body)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            return values
        if is_first:
            raise EndpointError(
                f"endpoint={self.shown_url} did not answer with a JSON object; is it a Riffusion "
                "endpoint?"
            )
        raise EndpointError(
            f"endpoint={self.shown_url} broke off its stream in the middle of a line; try again, "
            "or look at its log"
        )

    def _proxy(self) -> str | None:
        """The proxy that the environment names for this address; none to this machine.

        httpx reads the environment's proxies only if it makes the transport itself.
        """
        host = self.predict_url.host
        if self.is_local or urllib.request.proxy_bypass(host):
            return None
        proxies = urllib.request.getproxies()
        proxy = proxies.get(self.predict_url.scheme) or proxies.get("all")
        return proxy if not proxy or "://" in proxy else f"http://{proxy}"

    def _key_from_environment(self) -> str | None:
        name = next((name for name in API_KEY_VARIABLES if os.environ.get(name)), None)
        if name is None or self.is_local:
            return None
        if self.predict_url.scheme != "https":
            logger.warning("%s is not sent to %s: it is not https", name, self.shown_url)
            return None
        return os.environ[name]


def predict_url(url: str) -> httpx.URL:
    """The address that requests are posted to.

    Raises:
        EndpointError: `url` is not an http or https address.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise EndpointError(f"url={url!r} is not an address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise EndpointError(f"url={url!r} must start with http:// or https:// and name a host")
    if parsed.path.rstrip("/").endswith("predict"):
        return parsed
    return parsed.copy_with(path=parsed.path.rstrip("/") + PREDICT_PATH)
