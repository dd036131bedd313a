"""A real server on this machine that speaks ``/v1/chat/completions`` and misbehaves as told."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AT_ONCE = {"retry-after-ms": "1"}  # read by the client, so that no test waits for its pauses


@dataclass(frozen=True)
class Reply:
    """What goes back: a status, a body, headers; without a status the connection is closed."""

    status: int | None
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def answer(text: str, *, reason: str | None = "stop", tokens: int | None = 7) -> Reply:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
    content = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    if tokens is not None:
        content["usage"] = {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": tokens + 3}
    return as_json(200, content)


def refusal(status: int, message: str, **more: object) -> Reply:
    return as_json(status, {"error": {"message": message, **more}}, AT_ONCE)


def as_json(status: int, content: object, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(content).encode(), {"content-type": "application/json", **(headers or {})})


CLOSED = Reply(None, b"")


@dataclass
class Log:
    """What a server was asked."""

    address: str
    bodies: list[dict[str, object]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0

    def asked(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]


@contextmanager
def chat_server(reply: Callable[[str, int], Reply]):
    """Serve; ``reply`` gets what the user says and how often it was said before."""
    lock, under_way, seen = threading.Lock(), Counter(), Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            said = body["messages"][-1]["content"]
            with lock:
                log.bodies.append(body)
                log.keys.append(self.headers["authorization"])
                attempt, under_way["now"], seen[said] = seen[said], under_way["now"] + 1, seen[said] + 1
                log.most_at_once = max(log.most_at_once, under_way["now"])
            made = reply(said, attempt) if self.path == "/v1/chat/completions" else Reply(404, b"")
            with lock:
                under_way["now"] -= 1
            self.send(made)

        def send(self, made: Reply):
            if made.status is None:
                self.close_connection = True
                return
            self.send_response(made.status)
            for name, value in {"content-length": str(len(made.body)), **made.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # a client that went away
            pass

    server = Server(("127.0.0.1", 0), Handler)
    log = Log(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield log
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
