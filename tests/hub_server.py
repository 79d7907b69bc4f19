"""A server on loopback that speaks the part of the Hugging Face hub's API that pushing and fetching
need: repositories, their states, files sent in the commit or by the large file protocol."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "Bearer hf_test"


class Hub:
    """What the server holds.

    Attributes:
        states: repository -> commit -> path -> content, the newest commit last.
        blobs: large files by sha256.
        asked: every request, "METHOD path".
    """

    def __init__(self) -> None:
        self.states: dict[str, dict[str, dict[str, bytes]]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        states = self.states.setdefault(repository, {})
        before = states[list(states)[-1]] if states else {}
        name = hashlib.sha1(f"{repository}/{len(states)}".encode()).hexdigest()
        states[name] = {**before, **files}
        return name

    def state(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]]:
        states = self.states[repository]
        name = list(states)[-1] if revision == "main" else revision
        return name, states[name]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - names that http.server looks for

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        for pattern, method in ROUTES:
            match = re.fullmatch(pattern, path)
            if match is not None:
                method(self, body, **match.groupdict())
                return
        self._send(404, {"error": f"no route {path}"})

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, code: int, content: Any, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def create(self, body: bytes) -> None:
        if self.headers.get("Authorization") != TOKEN:
            self._send(401, {"error": "Invalid username or password."})
            return
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.states:
            self._send(409, {"error": "You already created this model repo"})
            return
        self.hub.commit(name, {".gitattributes": b""})
        self._send(200, {"url": f"http://{self.headers['Host']}/{name}"})

    def card(self, body: bytes) -> None:
        known = json.loads(body)["content"].startswith("---\nlicense: ")
        errors = [] if known else [{"message": "no licence"}]
        self._send(200 if known else 400, {"errors": errors, "warnings": []})

    def modes(self, body: bytes, repository: str, revision: str) -> None:
        files = json.loads(body)["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs"
                if file["path"].endswith((".safetensors", ".png"))
                else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        self._send(200, {"files": modes})

    def batch(self, body: bytes, repository: str) -> None:
        host = self.headers["Host"]
        objects = [
            {**each, "actions": {"upload": {"href": f"http://{host}/blobs/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        self.hub.blobs[hashlib.sha256(body).hexdigest()] = body
        self._send(200, b"")

    def send_commit(self, body: bytes, repository: str, revision: str) -> None:
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        oid = self.hub.commit(repository, files)
        url = f"http://{self.headers['Host']}/{repository}/commit/{oid}"
        self._send(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def _state(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if repository not in self.hub.states:
            self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        try:
            return self.hub.state(repository, revision)
        except KeyError:
            self._send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return None

    def info(self, body: bytes, repository: str, revision: str = "main") -> None:
        if found := self._state(repository, revision):
            siblings = [{"rfilename": path} for path in found[1]]
            self._send(200, {"id": repository, "sha": found[0], "siblings": siblings})

    def tree(self, body: bytes, repository: str, revision: str) -> None:
        if found := self._state(repository, revision):
            entries = [
                {"type": "file", "path": path, "size": len(content), "oid": _git_oid(content)}
                for path, content in found[1].items()
            ]
            self._send(200, entries)

    def resolve(self, body: bytes, repository: str, revision: str, file: str) -> None:
        if found := self._state(repository, revision):
            content = found[1].get(file)
            if content is None:
                self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
                return
            self._send(200, content, ETag=f'"{_git_oid(content)}"', X_Repo_Commit=found[0])


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


REPOSITORY, REVISION = r"(?P<repository>[\w.-]+/[\w.-]+)", r"(?P<revision>[^/]+)"
ROUTES = [
    ("/api/repos/create", Handler.create),
    ("/api/validate-yaml", Handler.card),
    (f"/api/models/{REPOSITORY}/preupload/{REVISION}", Handler.modes),
    (rf"/{REPOSITORY}\.git/info/lfs/objects/batch", Handler.batch),
    (r"/blobs/(?P<oid>\w+)", Handler.upload),
    (f"/api/models/{REPOSITORY}/commit/{REVISION}", Handler.send_commit),
    (f"/api/models/{REPOSITORY}/revision/{REVISION}", Handler.info),
    (f"/api/models/{REPOSITORY}", Handler.info),
    (f"/api/models/{REPOSITORY}/tree/{REVISION}/?", Handler.tree),
    (f"/{REPOSITORY}/resolve/{REVISION}/(?P<file>.+)", Handler.resolve),
]


@contextlib.contextmanager
def hub_server() -> Iterator[tuple[str, Hub]]:
    """The address of a running server, and what it holds."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
