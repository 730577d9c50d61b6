"""A model behind the API that vLLM and others speak, in a thread: to see the remote way at work without a GPU.

It knows what the workbench asks for and no more: one model, chat completions, no streaming. For work, use a real one.
"""

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Lock, Thread
from typing import Any

from insightv_core.records import Sampling
from insightv_core.vlm import VLM, Talk


@contextmanager
def serve_model(vlm: VLM, name: str) -> Iterator[str]:
    """Serve a model to this machine under a name while the block runs; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        lock = Lock()

        def do_GET(self) -> None:
            self.answer({"object": "list", "data": [{"id": name, "object": "model", "root": name}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with self.lock:  # one request at a time: the model is one
                self.answer(complete(vlm, name, body))

        def answer(self, found: dict) -> None:
            content = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Stay silent: each request would be a line in the cell."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def complete(vlm: VLM, name: str, body: dict) -> dict:
    """Answer the body of a request for chat completions."""
    messages, images = read_messages(body["messages"])
    sampling = Sampling(
        (body.get("temperature", 1.0),), body.get("top_p", 1.0), max_tokens=body["max_tokens"], seed=body.get("seed", 0)
    )
    talk = Talk("request", messages, tuple(images), tuple(range(body.get("n", 1))))
    said = sorted(vlm.converse([talk], sampling), key=lambda conversation: conversation.sample)
    choices = [
        {
            "index": each.sample, "finish_reason": each.replies[0].finish,
            "message": {"role": "assistant", "content": each.replies[0].text},
        }
        for each in said
    ]  # fmt: skip
    tokens = sum(each.replies[0].tokens for each in said)
    usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
    return {"object": "chat.completion", "model": name, "choices": choices, "usage": usage}


def read_messages(messages: list[dict]) -> tuple[list[dict], list]:
    """Return messages as the workbench writes them, and the pictures that were inside."""
    from PIL import Image

    read, images = [], []
    for message in messages:
        given = message["content"]
        whole: list[dict] = [{"type": "text", "text": given}] if isinstance(given, str) else given
        parts = []
        for part in whole:
            if part["type"] == "image_url":
                data = part["image_url"]["url"].partition(",")[2]
                images.append(Image.open(BytesIO(b64decode(data))).convert("RGB"))
                part = {"type": "image"}
            parts.append(part)
        read.append({"role": message["role"], "content": parts})
    return read, images
