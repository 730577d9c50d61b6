"""A chat-completions server in a thread that answers well until it is told otherwise."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = {"id": "tiny", "object": "model", "root": "maker/tiny"}


class MisbehavingServer:
    """Serve on a free port of this machine, from `with` to its end.

    `say(body, place)` makes the text of a choice. `refuses` are fields that get a 400, `ignores` fields without effect.
    `faults` are names of the `fault_` methods of `Handler`, one for each request to come; `always` is one for all, and
    `listing_fault` one for the list of models. `choice` is put over the fields of every choice.
    `requests` keeps (path, headers, body) of what came, `times` when, `most` how many were under way at once.
    """

    def __init__(
        self,
        say: Callable[[dict, int], str] = lambda body, place: f"reply {place}",
        *,
        refuses: Iterable[str] = (),
        ignores: Iterable[str] = (),
        faults: Iterable[str] = (),
        always: str = "",
        context: int = 1 << 20,
        seconds: float = 0.0,
        models: object = None,
    ):
        self.say, self.refuses, self.ignores, self.context = say, set(refuses), set(ignores), context
        self.faults, self.always, self.seconds = list(faults), always, seconds
        self.models = {"object": "list", "data": [MODEL]} if models is None else models
        self.choice: dict = {}
        self.listing_fault = ""
        self.requests: list[tuple[str, dict, dict]] = []
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.under_way = self.most = self.cut_off = 0
        self.released = threading.Event()
        self.connections: set[socket.socket] = set()
        self.port = 0

    def __enter__(self) -> "MisbehavingServer":
        self.come_back()
        return self

    def __exit__(self, *error) -> None:
        self.released.set()
        self.die()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[dict]:
        """The bodies of the completions asked for, in the order in which they came."""
        return [body for path, _, body in self.requests if path.endswith("/chat/completions")]

    def come_back(self) -> None:
        """Start to listen, at the same port as before."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.owner = self  # type: ignore[attr-defined]
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def die(self) -> None:
        """Stop to listen, and break off every connection."""
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.owner: MisbehavingServer = self.server.owner  # type: ignore[attr-defined]
        self.owner.connections.add(self.connection)

    def finish(self) -> None:
        self.owner.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *arguments) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """List the models."""
        self.owner.requests.append((self.path, dict(self.headers), {}))
        if self.owner.listing_fault:
            getattr(self, f"fault_{self.owner.listing_fault}")({})
        else:
            self.send(200, self.owner.models)

    def do_POST(self) -> None:
        """Answer, or do what is wrong next."""
        owner = self.owner
        length = int(self.headers["content-length"])
        if len(content := self.rfile.read(length)) < length:
            self.close_connection = True
            return
        body = json.loads(content)
        with owner.lock:
            owner.requests.append((self.path, dict(self.headers), body))
            owner.times.append(time.monotonic())
            owner.under_way += 1
            owner.most = max(owner.most, owner.under_way)
            fault = owner.faults.pop(0) if owner.faults else owner.always
        try:
            time.sleep(owner.seconds)
            getattr(self, f"fault_{fault}")(body) if fault else self.answer(body)
        except OSError:
            self.close_connection = True
            owner.cut_off += 1
        finally:
            with owner.lock:
                owner.under_way -= 1

    def answer(self, body: dict) -> None:
        """Answer as a good server would."""
        if self.owner.refuses & set(body):
            return self.send(400, {"error": {"message": "bad request"}})
        if body.get("max_tokens", 0) > self.owner.context:
            return self.send(400, {"error": {"message": "longer than the context"}})
        number = 1 if "n" in self.owner.ignores else body.get("n", 1)
        usage = {
            "prompt_tokens": 100, "completion_tokens": 10 * number, "prompt_tokens_details": {"cached_tokens": 60},
        }  # fmt: skip
        choices = [self.choose(body, place) for place in range(number)]
        if body.get("stream"):
            return self.stream(choices, usage if "stream_options" in body else None)
        self.send(200, {"choices": choices[::-1], "usage": usage})

    def choose(self, body: dict, place: int) -> dict:
        """Return one choice."""
        text = self.owner.say(body, place)
        choice = {"index": place, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": word, "logprob": -0.5} for word in text.split()]}
        return choice | self.owner.choice

    def stream(self, choices: list[dict], usage: dict | None, *, end: bool = True) -> None:
        """Send the choices in pieces, those of all choices in turn."""
        chunks = []
        for start in range(0, max(len(choice["message"]["content"]) for choice in choices), 2):
            chunks += [
                {
                    "choices": [
                        {"index": choice["index"], "delta": {"content": choice["message"]["content"][start:][:2]}}
                    ]
                }
                for choice in choices
            ]
        if end:
            chunks += [
                {"choices": [{"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}]}
                for choice in choices
            ]
            chunks.append({"choices": [], "usage": usage})
        self.send_head(200, "text/event-stream", None)
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            time.sleep(0.02)
        if end:
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def send(self, status: int, data: object, kind: str = "application/json", **headers: str) -> None:
        """Send an answer whole."""
        content = data.encode() if isinstance(data, str) else json.dumps(data).encode()
        self.send_head(status, kind, len(content), **headers)
        self.wfile.write(content)

    def send_head(self, status: int, kind: str, length: int | None, **headers: str) -> None:
        """Send the status line and the headers."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header(*(("Connection", "close") if length is None else ("Content-Length", str(length))))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    # -- what may be wrong -----------------------------------------------------------------------------------------

    def fault_busy(self, body: dict) -> None:
        """Ask to come back in a second."""
        self.send(429, {"error": "too many requests"}, Retry_After="1")

    def fault_overloaded(self, body: dict) -> None:
        """Be loading still."""
        self.send(503, {"error": {"message": "loading the model"}})

    def fault_broken(self, body: dict) -> None:
        """Fail."""
        self.send(500, {"detail": "out of memory"})

    def fault_fails_over_n(self, body: dict) -> None:
        """Fail where several replies are asked for."""
        self.send(500, {"error": "only one choice"}) if "n" in body else self.answer(body)

    def fault_fails_over_poison(self, body: dict) -> None:
        """Refuse what mentions poison."""
        self.send(400, {"error": "that is poison"}) if "poison" in json.dumps(body) else self.answer(body)

    def fault_not_found(self, body: dict) -> None:
        """Know no such model."""
        self.send(404, {"error": {"message": "no model tiny"}})

    def fault_moved(self, body: dict) -> None:
        """Send the client elsewhere."""
        self.send(301, "", Location="http://127.0.0.1:9/v1/chat/completions")

    def fault_echo_key(self, body: dict) -> None:
        """Refuse the key, and repeat it."""
        self.send(401, {"error": {"message": f"wrong key {self.headers['authorization']}"}})

    def fault_tell_key(self, body: dict) -> None:
        """Fail, and repeat the key."""
        self.send(500, f"<p>got {self.headers['authorization']}", "text/html")

    def fault_close(self, body: dict) -> None:
        """Break off before a word is said."""
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def fault_cut(self, body: dict) -> None:
        """Break off in the middle of an answer."""
        if body.get("stream"):
            return self.stream([self.choose(body, 0)], None, end=False)
        self.send_head(200, "application/json", 1000)
        self.wfile.write(b'{"choices": [{"mess')
        self.fault_close(body)

    def fault_hang(self, body: dict) -> None:
        """Say nothing until the client is gone or the server is to stop."""
        self.connection.settimeout(0.02)
        while not self.owner.released.is_set():
            with suppress(TimeoutError):
                if not self.connection.recv(1):
                    raise OSError("the client is gone")

    def fault_trickle(self, body: dict) -> None:
        """Keep the connection busy without ever coming to an end."""
        self.send_head(200, "application/json", 1000)
        while not self.owner.released.wait(0.02):
            self.wfile.write(b" ")

    def fault_garbage(self, body: dict) -> None:
        """Answer what no decoder reads."""
        self.send(200, '{"choices": [\x00' + "[" * 20_000)

    def fault_html(self, body: dict) -> None:
        """Answer a page for people."""
        self.send(200, "<html><style>p {}</style><title>Gateway</title><p>Back soon</html>", "text/html")

    def fault_nothing(self, body: dict) -> None:
        """Answer no byte."""
        self.send(200, "")

    def fault_list(self, body: dict) -> None:
        """Answer JSON of another form."""
        self.send(200, [1, 2])

    def fault_no_choices(self, body: dict) -> None:
        """Answer without choices."""
        self.send(200, {"choices": None, "usage": None})

    def fault_error_inside(self, body: dict) -> None:
        """Report an error with a status of success."""
        error = {"error": {"message": "the engine is dead"}}
        if body.get("stream"):
            return self.send(200, f"data: {json.dumps(error)}\n\n", "text/event-stream")
        self.send(200, error)

    def fault_bad_stream(self, body: dict) -> None:
        """Send an event that is not JSON."""
        self.send(200, 'data: {"error": "a "quoted" word"}\n\n', "text/event-stream")
