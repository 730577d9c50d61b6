"""The HTTP side: routes, keys, disconnects and a clean end, on this machine's own address alone."""

import asyncio
import contextlib
import hmac
import socket
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from insightv_core.errors import UserError
from insightv_core.images import MAX_MEGABYTES
from insightv_core.serve.answering import Done, Job, Said
from insightv_core.serve.asks import Ask, Refused, Served, read_ask
from insightv_core.serve.desk import Desk
from insightv_core.serve.replies import list_models, write_chunks, write_completion

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"
PICTURES = 4  # of the largest size that a conversation may hold
PATIENCE = 10  # seconds that connections have to close
Pieces = asyncio.Queue[Said | Done | Refused]


def serve(served: Served, port: int, *, key: str = "", max_megabytes: float = MAX_MEGABYTES) -> None:
    """Answer requests until Ctrl-C or SIGTERM; what is under way then is refused.

    `key` is what clients must send as their API key, where it is not empty. Raises `UserError` where the port is taken.
    """
    import uvicorn

    listener = listen(port)
    desk = Desk(served)

    class Server(uvicorn.Server):
        """A server whose models stop as soon as it is asked to end."""

        def handle_exit(self, sig, frame) -> None:
            desk.close()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        make_app(desk, key, max_megabytes), http="h11", ws="none", lifespan="off", log_level="warning",
        access_log=False, timeout_graceful_shutdown=PATIENCE,
    )  # fmt: skip
    address = f"http://{HOST}:{listener.getsockname()[1]}/v1"
    print(f"serving {', '.join(served.names)} at {address}; Ctrl-C ends", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn repeats the signal once everything is closed
        Server(config).run(sockets=[listener])
    desk.close()
    desk.thread.join(PATIENCE)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on this machine's own address."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # whoever comes before the server runs waits
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(f"port {port} cannot be used ({error}): give another with --port") from error
    return listener


def make_app(desk: Desk, key: str = "", max_megabytes: float = MAX_MEGABYTES) -> "Starlette":
    """Return the application that serves /v1/chat/completions and /v1/models."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    created = int(time.time())

    async def models(request: "Request") -> "Response":
        check_key(request, key)
        return JSONResponse({"object": "list", "data": list_models(desk.served, created)})

    async def model(request: "Request") -> "Response":
        check_key(request, key)
        name = request.path_params["name"]
        for entry in list_models(desk.served, created):
            if entry["id"] == name:
                return JSONResponse(entry)
        raise Refused(f"there is no model {name!r}", status=404, param="model", code="model_not_found")

    async def completions(request: "Request") -> "Response":
        check_key(request, key)
        body = await read_body(request, int(PICTURES * max_megabytes * 1.4e6) + 1_000_000)
        ask = await asyncio.to_thread(read_ask, body, desk.served, max_megabytes)
        return await answer(request, desk, ask)

    async def refuse(request: "Request", error: Exception) -> "Response":
        if isinstance(error, HTTPException):
            error = Refused(f"{request.method} {request.url.path}: {error.detail}", status=error.status_code)
        assert isinstance(error, Refused)
        return JSONResponse(error.body(), error.status)

    routes = [
        Route("/v1/models", models), Route("/v1/models/{name:path}", model),
        Route("/v1/chat/completions", completions, methods=["POST"]),
    ]  # fmt: skip
    # A page of the web may make its name point to this machine, but its requests still carry that name.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return Starlette(routes=routes, middleware=[hosts], exception_handlers={Refused: refuse, HTTPException: refuse})


def check_key(request: "Request", key: str) -> None:
    """Raise `Refused` where a key is wanted and the request has another, in a time that tells nothing of it."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    if key and not hmac.compare_digest(given, key.encode()):
        raise Refused("the API key is missing or wrong", status=401, code="invalid_api_key")


async def read_body(request: "Request", limit: int) -> bytes:
    """Return the body of a JSON request; raise `Refused` where it is too large or, as a web page's form, no JSON."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("application/json"):
        raise Refused(f"the content type is {kind[:60]!r}: send application/json", status=415)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise Refused(f"the request has over {limit / 1e6:.0f} MB: send smaller pictures", status=413)
    return bytes(body)


async def answer(request: "Request", desk: Desk, ask: Ask) -> "Response":
    """Let a request wait for its answer, and send it whole or as it comes; a client that has gone ends the work."""
    from starlette.responses import JSONResponse, StreamingResponse

    loop = asyncio.get_running_loop()
    pieces: Pieces = asyncio.Queue()

    def tell(piece: Said | Done | Refused) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed, and nobody listens
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

    job = Job(ask, tell)
    desk.take(job)
    watcher = asyncio.create_task(watch(request, job))
    name, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
    # A stream, too, starts with its first piece, so that what is refused has the status of its error.
    found = [await pieces.get()]
    if ask.stream and not isinstance(found[0], Refused):
        body = stream(job, watcher, found[0], pieces, name, created)
        return StreamingResponse(body, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
    while isinstance(found[-1], Said):
        found.append(await pieces.get())
    watcher.cancel()
    *said, end = found
    if isinstance(end, Refused):
        raise end
    assert isinstance(end, Done)
    return JSONResponse(write_completion(ask, [each for each in said if isinstance(each, Said)], end, name, created))


async def stream(
    job: Job, watcher: asyncio.Task, first: Said | Done | Refused, pieces: Pieces, name: str, created: int
) -> AsyncIterator[str]:
    """Yield the events of an answer as it comes."""
    piece = first
    try:
        for event in write_chunks(job.ask, piece, name, created):
            yield event
        while isinstance(piece, Said):
            piece = await pieces.get()
            for event in write_chunks(job.ask, piece, name, created):
                yield event
    finally:
        job.gone.set()
        watcher.cancel()


async def watch(request: "Request", job: Job) -> None:
    """Mark a request whose client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.gone.set()
