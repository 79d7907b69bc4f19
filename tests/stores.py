"""An S3-compatible store on the loopback, behind a proxy that drops, cuts and withholds answers."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BUCKET = "pictures"


class Store:
    """The store, and what its proxy does to answers.

    Attributes:
        faults: how many of the next answers for objects are spoilt: (how, name's end) -> number.
            "drop" closes the connection, "cut" sends half of the body, "flip" changes a byte,
            "hide" says 404.
        asked: (method, path) of each request.
    """

    def __init__(self, port: int):
        self.port = port
        self.faults: dict[tuple[str, str], int] = {}
        self.asked: list[tuple[str, str]] = []
        self.address = ""
        self._lock = threading.Lock()

    def fault_of(self, method: str, path: str) -> str | None:
        """What is done to the answer to a request."""
        with self._lock:
            self.asked.append((method, path))
            for (how, end), left in self.faults.items():
                if method == "GET" and path.partition("?")[0].endswith(end) and left > 0:
                    self.faults[how, end] = left - 1
                    return how
        return None


def _handler(store: Store) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def pass_on(self) -> None:
            how = store.fault_of(self.command, self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            if how == "drop":
                self.close_connection = True
                return
            inner = http.client.HTTPConnection("127.0.0.1", store.port, timeout=30)
            inner.request(self.command, self.path, body, dict(self.headers))
            answer = inner.getresponse()
            content = answer.read()
            inner.close()
            self.send_response(404 if how == "hide" else answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else None
            content = b"" if how == "hide" else content
            self.send_header("Content-Length", size or str(len(content)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if how == "flip":
                content = content[:-1] + bytes([content[-1] ^ 1])
            self.wfile.write(content[: len(content) // 2] if how == "cut" else content)
            self.close_connection |= how == "cut"

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on  # noqa: N815

    return Proxy


@contextmanager
def served() -> Iterator[Store]:
    """A store with an empty bucket; $AWS_ENDPOINT_URL and the like are the caller's."""
    from moto.server import ThreadedMotoServer

    inner = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    inner.start()
    store = Store(inner.get_host_and_port()[1])
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(store))
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    store.address = f"http://127.0.0.1:{proxy.server_address[1]}"
    connection = http.client.HTTPConnection("127.0.0.1", store.port)
    connection.request("PUT", f"/{BUCKET}")
    connection.getresponse().read()
    connection.close()
    try:
        yield store
    finally:
        proxy.shutdown()
        proxy.server_close()
        inner.stop()
