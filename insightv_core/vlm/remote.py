"""Models behind OpenAI-compatible chat-completions servers: vLLM, SGLang, llama.cpp, `transformers serve`.

What makes such servers fast is kept to: the same bytes first (constant system prompt, picture, question), replies sent
back as they came, all samples of a question asked for at once where the server can, and the same picture always to the
same server, whose cache holds it. A LoRA adapter goes by a name made from its content, as caches go by name.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from queue import Empty, SimpleQueue

import anyio
import httpx2
from anyio.abc import TaskGroup
from anyio.from_thread import start_blocking_portal

from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, Sampling, identify
from insightv_core.vlm import ERROR, Conversation, Event, Reply, Talk, Usage, chat_api
from insightv_core.vlm.endpoints import (
    CONNECT_SECONDS,
    Client,
    Endpoint,
    Failed,
    RemoteSettings,
    check_settings,
    headers,
    open_http,
    tls,
)

LOOK_EVERY = 0.05  # seconds between two looks at whether to stop


def connect(settings: RemoteSettings) -> "RemoteVLM":
    """Return the model behind the endpoints of the settings.

    Looks at each server's list of models. Raises `UserError` when none answers, the key is refused, they serve
    different models, or no model is named and there is not just one.
    """
    endpoints = check_settings(settings)
    listings, troubles = list_all(endpoints, settings)
    if not listings:
        raise UserError(f"{'; '.join(troubles)}; start the server or correct its address")
    model = settings.model or only_model(listings)
    entries = [listing[model] for listing in listings if model in listing] or [{}]
    reports = {describe_model(model, entry) for entry in entries}
    if len(reports) > 1:
        shown = "; ".join(sorted(map(str, reports)))
        raise UserError(f"the endpoints serve different models as {model}: {shown}; name servers of one model only")
    return RemoteVLM(settings, endpoints, model, ModelVersion(base_name(model), identify(*reports.pop())))


class RemoteVLM:
    """A model on servers, made by `connect`. Several threads may converse at once.

    Servers do not tell how many pictures went through the vision tower, so `usage().images` stays 0.
    """

    def __init__(self, settings: RemoteSettings, endpoints: Sequence[Endpoint], model: str, version: ModelVersion):
        self.settings, self.endpoints, self.model, self.version = settings, endpoints, model, version
        self.lock = threading.Lock()
        self.used = Usage()

    def converse(
        self,
        talks: Iterable[Talk],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        listen: Callable[[Event], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[Conversation]:
        """Hold the talks; see `VLM.converse`.

        `talks`, `listen` and `stop` are called in the caller's thread. Closing the iterator cancels what is under way.
        """
        model = self.model if adapter is None else self._find_adapter(adapter)
        ahead = 2 * self.settings.concurrency * len(self.endpoints)
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(open_http(self.settings)) as http:
            client = Client(self.settings, self.endpoints, http, self._count)
            hall = Hall(client, model, sampling, listen is not None)
            under_way = set()

            def begin(talk: Talk) -> None:
                future = portal.start_task_soon(hall.hold, talk)
                under_way.add(future)
                future.add_done_callback(under_way.discard)

            try:
                yield from collect(iter(talks), begin, hall.inbox, ahead, listen, stop or (lambda: False))
            finally:
                for future in list(under_way):
                    future.cancel()

    def usage(self) -> Usage:
        """Return what the servers have counted so far."""
        return self.used

    def _count(self, **counts: int) -> None:
        from insightv_core.vlm.engine import add_usage

        with self.lock:
            self.used = add_usage(self.used, **counts)

    def _find_adapter(self, folder: str) -> str:
        """Return the name by which the servers know an adapter; raises `UserError` where one does not list it."""
        from insightv_core.vlm.local import adapter_name

        if not Path(folder, "adapter_config.json").is_file():
            raise UserError(f"{folder} holds no LoRA adapter; give a folder with an adapter_config.json")
        name = adapter_name(folder)
        listings, troubles = list_all(self.endpoints, self.settings)
        if troubles or not all(name in listing for listing in listings):
            where = "; ".join(troubles) or "an endpoint does not list it"
            raise UserError(
                f"the servers do not all serve the adapter {folder} as {name}: {where}; load it into each under that "
                f"name, as vLLM does with --enable-lora --lora-modules {name}={folder}"
            )
        return name


def collect(
    talks: Iterator[Talk],
    begin: Callable[[Talk], None],
    inbox: SimpleQueue,
    ahead: int,
    listen: Callable[[Event], None] | None,
    stop: Callable[[], bool],
) -> Iterator[Conversation]:
    """Begin talks so that up to `ahead` samples are under way, and yield conversations as they come in."""
    under_way, more = 0, True
    while not stop():
        while more and under_way < ahead:
            talk = next(talks, None)
            if talk is None:
                more = False
            elif talk.samples:
                begin(talk)
                under_way += len(talk.samples)
        if not under_way:
            return
        try:
            message = inbox.get(timeout=LOOK_EVERY)
        except Empty:
            continue
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Event):
            if listen is not None:
                listen(message)
            continue
        under_way -= 1
        yield message


@dataclass(frozen=True)
class Opening:
    """A talk as it starts for all its samples: its messages, and the endpoints in the order to ask them."""

    talk: Talk
    messages: list[dict]
    order: Sequence[Endpoint]


class Hall:
    """Where the talks of one `converse` are held; what is said comes out at the `inbox` of the caller's thread."""

    def __init__(self, client: Client, model: str, sampling: Sampling, listening: bool):
        self.client, self.model, self.sampling, self.listening = client, model, sampling, listening
        self.settings = client.settings
        self.inbox: SimpleQueue[Conversation | Event | Exception] = SimpleQueue()

    async def hold(self, talk: Talk) -> None:
        """Hold all samples of a talk."""
        await self._guard(self._hold, talk)

    async def _hold(self, talk: Talk) -> None:
        try:
            messages = await anyio.to_thread.run_sync(chat_api.write_messages, talk)
        except ValueError as error:
            for sample in talk.samples:
                self._end(talk, sample, [Reply(str(error), 0, None, ERROR, 0.0)])
            return
        opening = Opening(talk, messages, route(talk, messages, self.client.endpoints))
        async with anyio.create_task_group() as group:
            for samples in chat_api.group_samples(talk.samples, self.sampling):
                group.start_soon(self._guard, self._open, opening, samples, group)

    async def _guard(self, work: Callable, *arguments) -> None:
        """Do some work, and hand what goes wrong to the caller instead of to the task group."""
        try:
            await work(*arguments)
        except Exception as error:
            self.inbox.put(error)

    async def _open(self, opening: Opening, samples: list[int], group: TaskGroup) -> None:
        """Ask for the first replies of samples of one temperature, at once where the server can, and go on with each.

        What a server leaves out is asked for one by one.
        """
        replies: Sequence[Reply] = ()
        if len(samples) > 1 and opening.order[0].takes.get("n", True):
            replies = await self._ask(opening, opening.messages, [], samples)
        for place, sample in enumerate(samples):
            first = list(replies[place : place + 1])
            group.start_soon(self._guard, self._go_on, opening, sample, first)

    async def _go_on(self, opening: Opening, sample: int, replies: list[Reply]) -> None:
        """Hold one sample of a talk to its end, from its first reply where there is one."""
        talk, messages = opening.talk, opening.messages
        replies = replies or await self._ask(opening, messages, [], [sample])
        while True:
            reply = replies[-1]
            if self.listening:
                self.inbox.put(Event(talk.key, sample, len(replies) - 1, reply.text, True))
            turn = None if reply.finish == ERROR else talk.next_turn(replies)
            if turn is None:
                self._end(talk, sample, replies)
                return
            messages = [*messages, {"role": "assistant", "content": reply.text}, {"role": "user", "content": turn}]
            replies += await self._ask(opening, messages, replies, [sample])

    async def _ask(
        self, opening: Opening, messages: list[dict], replies: Sequence[Reply], samples: list[int]
    ) -> list[Reply]:
        """Return the next replies of samples that share their messages: fewer where the server gives fewer."""
        talk, turn = opening.talk, len(replies)
        body = chat_api.write_body(self.model, messages, self.sampling, key=talk.key, turn=turn, samples=samples)
        schema = talk.schema(replies) if talk.schema is not None and self.settings.schema != "never" else None
        if schema is not None:
            body["response_format"] = chat_api.write_schema(schema)
        if self.settings.logprobs:
            body["logprobs"] = True
        if self.listening:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        hear = partial(self._hear, talk.key, samples, turn) if self.listening else None
        try:
            answer = await self.client.ask(opening.order, body, hear)
        except Failed as error:
            return [Reply(str(error), 0, None, ERROR, 0.0)] * len(samples)
        return list(answer.replies[: len(samples)])

    def _hear(self, key: str, samples: Sequence[int], turn: int, place: int, text: str) -> None:
        if place < len(samples):
            self.inbox.put(Event(key, samples[place], turn, text, False))

    def _end(self, talk: Talk, sample: int, replies: Sequence[Reply]) -> None:
        self.inbox.put(Conversation(talk.key, sample, tuple(replies)))


def route(talk: Talk, messages: Sequence[dict], endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Return the endpoints in the order in which to ask them about a talk: the same for talks of the same pictures.

    Each pair of picture and endpoint has a weight of its own (rendezvous hashing), so the pictures of an endpoint that
    is down spread over all others, and those of the others stay where they are.
    """
    parts = [part for message in messages if not isinstance(message["content"], str) for part in message["content"]]
    pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    about = hashlib.sha256("\n".join(pictures or [talk.key]).encode()).hexdigest()
    return sorted(endpoints, key=lambda endpoint: identify(endpoint.url, about))


# -- which model it is -------------------------------------------------------------------------------------------------


def list_all(endpoints: Sequence[Endpoint], settings: RemoteSettings) -> tuple[list[dict[str, dict]], list[str]]:
    """Return the models that each endpoint lists, by name, and what is wrong with the endpoints that list none."""
    listings, troubles = [], []
    for endpoint in endpoints:
        try:
            listings.append(list_models(endpoint, settings))
        except ValueError as error:
            troubles.append(str(error))
    return listings, troubles


def list_models(endpoint: Endpoint, settings: RemoteSettings) -> dict[str, dict]:
    """Return the models that an endpoint lists, by name; none where it keeps no list.

    Raises ValueError when it cannot be reached or is no such server, `UserError` when it refuses the key.
    """
    try:
        timeout = min(settings.timeout, CONNECT_SECONDS)
        response = httpx2.get(endpoint.url + "/models", headers=headers(settings), verify=tls(), timeout=timeout)
    except httpx2.HTTPError as error:
        raise ValueError(f"{endpoint.url} cannot be reached: {error or 'timed out'}") from error
    if response.status_code in (401, 403):
        raise UserError(
            f"{endpoint.url} refuses the key ({response.status_code}); set {settings.api_key_env} in the environment "
            "to one that it accepts"
        )
    if response.status_code in (404, 405, 500, 501):  # 500 is `transformers serve` on a machine without a hub cache
        return {}
    try:
        entries = response.json()["data"]
        models = {entry["id"]: entry for entry in entries if isinstance(entry["id"], str)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{endpoint.url} lists no models yet (status {response.status_code})") from error
    return models


def only_model(listings: Sequence[dict[str, dict]]) -> str:
    """Return the one model that is served."""
    names = sorted({name for listing in listings for name in listing})
    if len(names) != 1:
        raise UserError(f"the servers list {', '.join(names) or 'no models'}; name the one to use")
    return names[0]


def describe_model(model: str, entry: dict) -> tuple[str, ...]:
    """Return what a server's entry for a model tells of its weights, and nothing that changes from start to start.

    Folders are reduced to their last part: the same weights may lie elsewhere on another machine.
    """
    meta = entry.get("meta")
    size = [str(meta.get(name)) for name in ("n_params", "size")] if isinstance(meta, dict) else []
    return (base_name(model), base_name(str(entry.get("root") or model)), str(entry.get("revision") or ""), *size)


def base_name(name: str) -> str:
    """Return the last part of an absolute path, and any other name as it is."""
    return PurePosixPath(name).name if name.startswith("/") else name
