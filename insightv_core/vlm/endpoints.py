"""Requests to chat-completions servers that may be busy, limited, dead for a while, or wrong."""

import json
import random
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from os import environ
from urllib.parse import urlsplit

import anyio
import httpx2

from insightv_core.errors import UserError
from insightv_core.vlm.chat_api import OPTIONAL, SHOWN, Answer, StreamedAnswer, find_words, read_answer

SCHEMA_MODES = ("auto", "always", "never")
CONNECT_SECONDS = 10.0
KEEP_SECONDS = 4.0  # less than the 5 seconds after which uvicorn, and so vLLM and SGLang, close an idle connection
LONGEST_REST = 60.0
LOOK_EVERY = 0.25  # seconds between two looks at whether an endpoint may be asked again
HEARD_EVERY = 0.05  # seconds between two events of one reply's text
BUSY = (408, 409, 425, 429)
Hear = Callable[[int, str], None]


@dataclass(frozen=True)
class RemoteSettings:
    """Which servers to ask, and how.

    `endpoints` are base URLs of servers of the same model, as `http://host:8000/v1`. `model` is the name that they
    know it by; None takes the only one they list. The key is read from the environment variable `api_key_env` when it
    is needed. Of one `converse`, `concurrency` requests are under way at each endpoint; each is given `timeout`
    seconds and `tries`, with waits of `backoff` seconds that double. `schema` sends JSON schemas "always" (a server
    that refuses them is an error), "never", or "auto", to servers that take them. `logprobs` asks for
    log-probabilities.
    """

    endpoints: tuple[str, ...]
    model: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 32
    timeout: float = 300.0
    tries: int = 6
    backoff: float = 0.5
    schema: str = "auto"
    logprobs: bool = False


@dataclass(eq=False)
class Endpoint:
    """A server, what it is known to take, and since when it is out of reach."""

    url: str
    takes: dict[str, bool] = field(default_factory=dict)
    rests_until: float = 0.0
    losses: int = 0
    answered: float = 0.0


class Failed(Exception):
    """A request that stays without an answer; the message says why."""


class Refused(Exception):
    """A request that the server will not answer in this form."""


class Passing(Exception):
    """A fault that may be gone at the next try."""

    def __init__(self, words: str, *, lost: bool = False, status: int = 0, after: float = 0.0):
        super().__init__(words)
        self.lost, self.status, self.after = lost, status, after


class Client:
    """Sends the requests of one event loop to the endpoints: a bounded number at once, each until it is answered."""

    def __init__(
        self,
        settings: RemoteSettings,
        endpoints: Sequence[Endpoint],
        http: httpx2.AsyncClient,
        count: Callable[..., None],
    ):
        self.settings, self.endpoints, self.http, self.count = settings, endpoints, http, count
        self.slots = {endpoint: anyio.Semaphore(settings.concurrency) for endpoint in endpoints}
        self.locks = {endpoint: anyio.Lock() for endpoint in endpoints}

    async def ask(self, order: Sequence[Endpoint], body: dict, hear: Hear | None = None) -> Answer:
        """Send a request to the first endpoint in the order that is up, and try again where that may help.

        `hear` gets a choice's number and its text so far. Raises `Failed` after the last try, and `UserError` when no
        endpoint can be reached, or one refuses the key or the model.
        """
        began, tries = time.monotonic(), 0
        failed: list[Endpoint] = []
        faults: list[Passing] = []
        while True:
            endpoint = await self._choose(order, failed)
            probing = endpoint.losses > 0
            try:
                return await self._send(endpoint, body, hear)
            except Passing as fault:
                failed.append(endpoint)
                faults.append(fault)
                self._rest(endpoint, fault, probing)
            now = time.monotonic()
            elsewhere = any(other not in failed and other.rests_until <= now for other in order)
            if not (faults[-1].lost and elsewhere):
                tries += 1
            if tries == self.settings.tries:
                smaller = await self._find_cause(endpoint, body, faults[-1])
                if smaller is None:
                    raise self._give_up(faults, began)
                body, tries = smaller, 0
            self.count(retries=1)
            if not elsewhere:
                await anyio.sleep(self.settings.backoff * 2 ** max(0, tries - 1) * random.uniform(0.5, 1.0))

    async def _choose(self, order: Sequence[Endpoint], failed: Sequence[Endpoint]) -> Endpoint:
        """Wait until an endpoint may be asked; one that was out of reach is tried by a single request at a time."""
        while True:
            endpoint, now = choose(order, failed), time.monotonic()
            if endpoint.rests_until <= now:
                if endpoint.losses:
                    endpoint.rests_until = now + CONNECT_SECONDS
                return endpoint
            await anyio.sleep(min(endpoint.rests_until - now, LOOK_EVERY))

    # -- one request -----------------------------------------------------------------------------------------------

    async def _send(self, endpoint: Endpoint, body: dict, hear: Hear | None) -> Answer:
        """Send a request in the form that this endpoint takes, finding that form out where it refuses."""
        while True:
            body = fit(body, endpoint)
            try:
                answer = await self._post(endpoint, body, hear)
            except Refused as refusal:
                smaller = await self._learn(endpoint, body)
                if smaller is None:
                    raise Failed(str(refusal)) from refusal
                body = smaller
                continue
            for name in set(OPTIONAL).intersection(body):
                endpoint.takes[name] = True
            if len(answer.replies) < body.get("n", 1):
                self._mark(endpoint, ["n"])
            return answer

    async def _post(self, endpoint: Endpoint, body: dict, hear: Hear | None) -> Answer:
        url = endpoint.url + "/chat/completions"
        async with self.slots[endpoint]:
            self.count(requests=1)
            began = time.monotonic()
            try:
                with anyio.fail_after(self.settings.timeout):
                    async with self.http.stream("POST", url, json=body) as response:
                        note_answer(endpoint)
                        data = await self._read(endpoint, response, hear)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
                raise Passing(f"{endpoint.url} cannot be reached: {error or 'timed out'}", lost=True) from error
            except (TimeoutError, httpx2.TimeoutException) as error:
                raise Passing(f"{endpoint.url} did not answer within {self.settings.timeout:g} seconds") from error
            except httpx2.RequestError as error:
                reason = str(error) or type(error).__name__
                raise Passing(f"{endpoint.url} broke the connection off: {reason}") from error
            try:
                answer = read_answer(data, time.monotonic() - began)
            except ValueError as error:
                raise Passing(self._hide_key(f"{endpoint.url}: {error}")) from error
        self.count(
            prefill_tokens=max(0, answer.prompt_tokens - answer.cached_tokens),
            cached_tokens=answer.cached_tokens,
            decoded_tokens=answer.decoded_tokens,
        )
        return answer

    async def _read(self, endpoint: Endpoint, response: httpx2.Response, hear: Hear | None) -> object:
        """Return what an answer's JSON holds, whether it comes whole or as a stream of events."""
        kind = response.headers.get("content-type", "")
        if response.status_code == 200 and kind.startswith("text/event-stream"):
            return await self._read_stream(endpoint, response, hear)
        content = await response.aread()
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            data = None
        if response.status_code != 200:
            shown = describe_page(content) if data is None else find_words(data)
            self._complain(endpoint, response, shown)
        if data is None:
            raise Passing(self._hide_key(f"{endpoint.url} answered what is not JSON: {describe_page(content)}"))
        return data

    async def _read_stream(self, endpoint: Endpoint, response: httpx2.Response, hear: Hear | None) -> object:
        answer = StreamedAnswer()
        heard: dict[int, float] = {}
        async for event in httpx2.EventSource(response):
            if event.data.strip() == "[DONE]":
                return answer.whole()
            try:
                grown = answer.add(json.loads(event.data))
            except (ValueError, RecursionError) as error:
                raise Passing(self._hide_key(f"{endpoint.url}: {error}")) from error
            now = time.monotonic()
            for place in grown:
                if hear is not None and now - heard.get(place, 0.0) >= HEARD_EVERY:
                    heard[place] = now
                    hear(place, answer.text(place))
        if not answer.ended():
            raise Passing(f"{endpoint.url} ended a stream early")
        return answer.whole()

    def _complain(self, endpoint: Endpoint, response: httpx2.Response, shown: str) -> None:
        """Raise what a status other than 200 means."""
        status = response.status_code
        words = self._hide_key(f"{endpoint.url} answered {status}: {shown}")
        if status in BUSY or status >= 500 and status != 501:
            raise Passing(words, status=status, after=read_wait(response.headers.get("retry-after", "")))
        if status in (401, 403):
            raise UserError(f"{words}; set {self.settings.api_key_env} in the environment to a key that it accepts")
        if status in (404, 405) or status < 400:
            raise UserError(f"{words}; check the model's name and the address, which mostly ends in /v1")
        raise Refused(words)

    # -- finding out what an endpoint takes ------------------------------------------------------------------------

    async def _learn(self, endpoint: Endpoint, body: dict) -> dict | None:
        """Return a refused request in a form that the endpoint takes, or None when the request itself is at fault.

        Asks for one token: without the options, with all, and with each, so nothing depends on how a server words its
        errors. Where one token is granted with all options, the reply was to be longer than the context leaves room
        for, and the limit is left to the server.
        """
        async with self.locks[endpoint]:
            if (known := fit(body, endpoint)) != body:
                return known  # another request has found it out meanwhile
            options = {name: body[name] for name in OPTIONAL if name in body}
            bare = {name: value for name, value in body.items() if name not in (*OPTIONAL, "stream")}
            bare["max_tokens"] = 1
            if not await self._takes(endpoint, bare):
                return None
            if await self._takes(endpoint, bare | options):
                return {name: body[name] for name in body if name != "max_tokens"} if "max_tokens" in body else None
            refused = [name for name in options if not await self._takes(endpoint, bare | {name: options[name]})]
            if refused:
                self._mark(endpoint, refused)
            return fit(body, endpoint) if refused else None

    async def _takes(self, endpoint: Endpoint, body: dict) -> bool:
        if "stream_options" in body:
            body = body | {"stream": True}
        try:
            answer = await self._post(endpoint, body, None)
        except Refused:
            return False
        except Passing as fault:
            if fault.status != 500:
                raise
            return False
        return len(answer.replies) >= body.get("n", 1)

    async def _find_cause(self, endpoint: Endpoint, body: dict, fault: Passing) -> dict | None:
        """Return a request without the options that an endpoint fails over with status 500, as some do; or None."""
        fitted = fit(body, endpoint)
        if fault.status != 500 or all(endpoint.takes.get(name) for name in OPTIONAL if name in fitted):
            return None
        try:
            smaller = await self._learn(endpoint, fitted)
        except Passing:
            return None
        return smaller if smaller and "max_tokens" in smaller else None

    def _mark(self, endpoint: Endpoint, refused: Iterable[str]) -> None:
        """Remember that an endpoint does not take some options, and say so once."""
        refused = list(refused)
        endpoint.takes.update(dict.fromkeys(refused, False))
        if "response_format" in refused and self.settings.schema == "always":
            raise UserError(f"{endpoint.url} takes no JSON schemas; set the schema mode to auto, or use another server")
        print(f"{endpoint.url} takes no {', '.join(refused)}, so it is asked without", file=sys.stderr)

    # -- faults ----------------------------------------------------------------------------------------------------

    def _rest(self, endpoint: Endpoint, fault: Passing, probing: bool) -> None:
        """Leave an endpoint alone for a while where it is out of reach or asks for it."""
        now, wait = time.monotonic(), min(fault.after, self.settings.timeout)
        if fault.lost and (probing or endpoint.rests_until <= now):
            wait = min(LONGEST_REST, self.settings.backoff * 2**endpoint.losses) * random.uniform(0.5, 1.0)
            endpoint.rests_until = 0.0
            endpoint.losses += 1
        if wait:
            endpoint.rests_until = max(endpoint.rests_until, now + wait)

    def _give_up(self, faults: list[Passing], began: float) -> Exception:
        answered = any(endpoint.answered >= began for endpoint in self.endpoints)
        if answered or not all(fault.lost for fault in faults):
            return Failed(f"{faults[-1]}; tried {len(faults)} times")
        reasons = "; ".join(dict.fromkeys(map(str, faults)))
        return UserError(f"{reasons}; start the server or correct its address, then run the same command again")

    def _hide_key(self, words: str) -> str:
        key = read_key(self.settings)
        return words.replace(key, "[key]") if key else words


def note_answer(endpoint: Endpoint) -> None:
    """Remember that an endpoint can be reached."""
    endpoint.answered = time.monotonic()
    if endpoint.losses:
        endpoint.losses, endpoint.rests_until = 0, 0.0


def choose(order: Sequence[Endpoint], failed: Sequence[Endpoint]) -> Endpoint:
    """Return the first endpoint that is up, one that has not failed if there is one, else the first to be up again."""
    now = time.monotonic()
    up = [endpoint for endpoint in order if endpoint.rests_until <= now]
    fresh = [endpoint for endpoint in up if endpoint not in failed]
    return (fresh or up or [min(order, key=lambda endpoint: endpoint.rests_until)])[0]


def fit(body: dict, endpoint: Endpoint) -> dict:
    """Return a request without the options that an endpoint is known to refuse."""
    return {name: value for name, value in body.items() if endpoint.takes.get(name, True)}


def read_wait(header: str) -> float:
    """Return the seconds that a Retry-After header asks for, as a number or a date; 0 where it cannot be read."""
    if re.fullmatch(r"\d{1,9}(\.\d+)?", header.strip()):
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def describe_page(content: bytes) -> str:
    """Return the words of an error page on one short line."""
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", content[:20_000].decode(errors="replace"), flags=re.S | re.I)
    return " ".join(text.split())[:SHOWN] or "nothing"


# -- settings ----------------------------------------------------------------------------------------------------------


def read_key(settings: RemoteSettings) -> str:
    """Return the key from the environment, or "" where none is set. Raises `UserError` when it cannot be a key."""
    key = environ.get(settings.api_key_env, "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise UserError(f"the key in {settings.api_key_env} holds spaces or letters that no header can; set it again")
    return key


def open_http(settings: RemoteSettings) -> httpx2.AsyncClient:
    """Return an HTTP client that sends the key; connections are kept and bounded by the requests under way alone."""
    return httpx2.AsyncClient(
        headers=headers(settings),
        verify=tls(),
        timeout=httpx2.Timeout(settings.timeout, connect=min(CONNECT_SECONDS, settings.timeout), pool=None),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_SECONDS),
    )


@cache
def tls() -> ssl.SSLContext:
    """Return the certificates to trust, which take longer to read than a short reply to make."""
    return httpx2.create_ssl_context()


def headers(settings: RemoteSettings) -> dict[str, str]:
    """Return the headers of a request."""
    key = read_key(settings)
    return {"Authorization": f"Bearer {key}"} if key else {}


def check_settings(settings: RemoteSettings) -> list[Endpoint]:
    """Return the endpoints of settings that make sense; raises `UserError` for others."""
    if settings.schema not in SCHEMA_MODES:
        raise UserError(f"schema {settings.schema!r} is unknown; use one of {', '.join(SCHEMA_MODES)}")
    for name in ("concurrency", "tries", "timeout"):
        if not getattr(settings, name) > 0:
            raise UserError(f"{name} is {getattr(settings, name)}, which lets no request through; use 1 or more")
    if not settings.endpoints:
        raise UserError("no endpoint is given; name at least one address, as http://localhost:8000/v1")
    return [Endpoint(url) for url in dict.fromkeys(map(clean_url, settings.endpoints))]


def clean_url(url: str) -> str:
    """Return an endpoint's base URL, completed to /v1 where it names a host alone.

    >>> clean_url("http://localhost:8000/")
    'http://localhost:8000/v1'
    """
    try:
        parts = urlsplit(url.strip())
        ok = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        ok = False
    if ok and (parts.username is not None or parts.password is not None):
        raise UserError(f"the address of {parts.hostname} holds a password; put the key into the environment instead")
    if not ok or parts.query or parts.fragment:
        raise UserError(f"{url!r} is no address of a server; write it as http://localhost:8000/v1")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"
