"""Client of an inference endpoint: the local Truss server, or a hosted deployment of the bundle."""

import ipaddress
import json
import logging
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import httpx

from riffusion.errors import EndpointError
from riffusion.serving.addresses import DEFAULT_HOST, DEFAULT_PORT, PREDICT_PATH

logger = logging.getLogger(__name__)

DEFAULT_URL = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}{PREDICT_PATH}"
DEFAULT_TIMEOUT_S = 600.0
DEFAULT_RETRY_BUDGET_S = 30.0
API_KEY_VARIABLES = ("RIFFUSION_API_KEY", "BASETEN_API_KEY")
JSON = "application/json"
MSGPACK = "application/octet-stream"
"""Content types of requests; the Truss server answers in kind."""
_CONNECT_TIMEOUT_S = 5.0
_RETRY_DELAYS_S = (0.25, 0.5, 1.0)
"""Where the endpoint doesn't say how long."""
_JITTER = 0.25
"""Delays are longer by up to this share, by chance, so that clients don't come back all at once."""


class Endpoint:
    """Where requests are answered.

    Args:
        url: address of the endpoint. One whose path ends in `predict` is taken as it is; to any
            other the Truss server's predict path is added.
        api_key: goes into the Authorization header. Default: the environment's
            `RIFFUSION_API_KEY` or `BASETEN_API_KEY`, which is not sent unencrypted to other
            machines.
        timeout_s: for the whole answer, or, of a stream, until the next event.
        retry_budget_s: time to spend on waiting, where the endpoint can't be reached or is busy
            (503). Requests that may have been worked on are not sent again.

    Raises:
        EndpointError: the URL is not one.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry_budget_s: float = DEFAULT_RETRY_BUDGET_S,
    ) -> None:
        self.predict_url = predict_url(url)
        self.is_local = _is_loopback(self.predict_url.host)
        self.timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S, pool=None)
        self.retry_budget_s = retry_budget_s
        key = api_key or self._key_from_environment()
        self._headers = {"Authorization": f"Api-Key {key}"} if key else {}

    def __repr__(self) -> str:
        return f"Endpoint({self.shown_url!r})"  # without the key

    @property
    def shown_url(self) -> str:
        """Its address for people, without credentials that may be in it."""
        return str(self.predict_url.copy_with(userinfo=b"", query=None))

    @property
    def ready_url(self) -> httpx.URL | None:
        """Where a Truss server says whether its model is loaded; None for other addresses."""
        base, colon, method = str(self.predict_url).rpartition(":")
        return httpx.URL(base) if colon and method == "predict" else None

    @property
    def metrics_url(self) -> httpx.URL | None:
        """Where a Truss server on this machine shows its metrics; hosted ones don't."""
        return self.predict_url.join("/metrics/") if self.is_local and self.ready_url else None

    def request(self, body: bytes, content_type: str = JSON) -> httpx.Request:
        """The HTTP request that carries `body`, API key included."""
        headers = {"Content-Type": content_type, **self._headers}
        extensions = {"timeout": self.timeout.as_dict()}
        return httpx.Request(
            "POST", self.predict_url, content=body, headers=headers, extensions=extensions
        )

    def predict(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for one clip.

        Raises:
            EndpointError: it can't be reached, took too long, or answered with an error; `status`
                and the message are the server's.
        """
        with self._client() as client, closing(self._answer(client, payload)) as response:
            return self._object_from(response.read())

    def stream(self, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Ask for one clip and follow it: `progress` events, then `result`.

        Raises:
            EndpointError: as `predict`, or the stream ended with an error or without a result.
        """
        payload = {**payload, "stream": True}
        with self._client() as client, closing(self._answer(client, payload)) as answer:
            try:
                for line in answer.iter_lines():
                    event = self._object_from(line.encode())
                    if event.get("event") == "error":
                        raise EndpointError(str(event.get("error")), status=answer.status_code)
                    yield event
                    if event.get("event") == "result":
                        return
            except httpx.RequestError as error:
                raise self.unreachable(error) from error
        raise EndpointError(f"endpoint={self.shown_url} ended its stream without a result")

    def unreachable(self, error: httpx.RequestError) -> EndpointError:
        """The exception for an endpoint that gives no answer."""
        if isinstance(error, httpx.TimeoutException) and not is_unsent(error):
            return EndpointError(
                f"endpoint={self.shown_url} did not answer within {self.timeout.read:g} s; "
                "try again, or allow more time",
                status=504,
            )
        what = str(error) or type(error).__name__
        remedy = "start it with `riffusion serve`" if self.is_local else "check the address"
        return EndpointError(f"endpoint={self.shown_url} is out of reach: {what}; {remedy}", 502)

    def _client(self) -> httpx.Client:
        return httpx.Client(trust_env=not self.is_local)  # no proxy on the way to this machine

    def _answer(self, client: httpx.Client, payload: Mapping[str, Any]) -> httpx.Response:
        """The answer to `payload`, its body yet to be read; only if it is a success."""
        request = self.request(json.dumps(payload).encode())
        retries = Retries(self.retry_budget_s)
        while True:
            try:
                response = client.send(request, stream=True)
            except httpx.RequestError as error:
                if (delay_s := retries.delay_after_error(error)) is None:
                    raise self.unreachable(error) from error
            else:
                if response.is_success:
                    return response
                response.read()
                if (delay_s := retries.delay_after_response(response)) is None:
                    raise EndpointError(error_message(response), status=response.status_code)
            logger.info("%s is busy or away; trying again in %.1f s", self, delay_s)
            time.sleep(delay_s)

    def _object_from(self, body: bytes) -> dict[str, Any]:
        try:
            values = json.loads(body)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise EndpointError(
                f"endpoint={self.shown_url} did not answer with a JSON object; is it a Riffusion "
                "endpoint?"
            )
        return values

    def _key_from_environment(self) -> str | None:
        name = next((name for name in API_KEY_VARIABLES if os.environ.get(name)), None)
        if name is None or self.is_local:
            return None
        if self.predict_url.scheme != "https":
            logger.warning("%s is not sent to %s: it is not https", name, self.shown_url)
            return None
        return os.environ[name]


class Retries:
    """Which requests are sent again, and when; the time spent waiting stays within a budget.

    Only what was not worked on is repeated: what never reached the server, and what it refused with
    503, which it does before the first byte of a clip or a stream.

    Args:
        budget_s: of time to wait.
        rng: draws what delays are longer by.
    """

    def __init__(self, budget_s: float, rng: random.Random | None = None) -> None:
        self._left_s = budget_s
        self._delays_s = iter(_RETRY_DELAYS_S)
        self._rng = rng or random.Random()

    def delay_after_error(self, error: httpx.RequestError) -> float | None:
        """Seconds to wait, or None to give up."""
        return self._spend(next(self._delays_s, None)) if is_unsent(error) else None

    def delay_after_response(self, response: httpx.Response) -> float | None:
        """Seconds to wait, or None to give up, since it is a success or another error."""
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return None
        retry_after = response.headers.get("Retry-After", "")
        if retry_after.isdecimal():
            return self._spend(float(retry_after))
        return self._spend(next(self._delays_s, None))

    def _spend(self, delay_s: float | None) -> float | None:
        if delay_s is None:
            return None
        delay_s *= 1 + _JITTER * self._rng.random()
        if delay_s > self._left_s:
            return None
        self._left_s -= delay_s
        return delay_s


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


def is_unsent(error: httpx.RequestError) -> bool:
    """Whether the request cannot have reached the server."""
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def error_message(response: httpx.Response) -> str:
    """What an error answer says: its `error`, or else the beginning of its body."""
    try:
        return str(response.json()["error"])
    except (ValueError, LookupError, TypeError):
        return f"status {response.status_code}: {response.text[:200]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
