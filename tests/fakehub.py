"""A server on this machine that speaks the protocol of the Hugging Face hub, and serves plain files, with faults.

Hub (seen from huggingface_hub 2.4.0): ``/api/datasets/ORG/NAME/revision/REV`` gives the commit, ``/api/datasets/.../
tree/COMMIT`` the files page by page, ``/datasets/ORG/NAME/resolve/COMMIT/PATH`` a file: small ones at once with the
git hash as ETag, large ones (LFS) by a redirect to a CDN address with X-Linked-Etag and X-Linked-Size. Errors carry
X-Error-Code. Plain files are at ``/files/PATH`` with ETag, Last-Modified, Range and If-Range.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPO = "org/ref-vps"
COMMIT = "c0ffee" * 6 + "beef"
LFS_FROM = 2000
"""Files of this size or more are large (LFS)."""


@dataclass
class Fault:
    """What goes wrong with the body of ``path``, for the next ``times`` GET requests.

    ``status``: this answer instead, with ``headers``. ``cut``: the connection ends after so many bytes. ``corrupt``:
    the first byte that is sent is another one. ``hold``: after so many bytes the server waits for ``release``.
    """

    path: str
    times: int = 1_000_000
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    corrupt: bool = False
    hold: int | None = None


@dataclass
class FakeHub:
    """``files``: content by path. ``log``: (method, path, headers) of every request. Use in a with statement."""

    files: dict[str, bytes]
    faults: list[Fault] = field(default_factory=list)
    gated: bool = False
    ranges: bool = True
    etags: bool = True
    length: bool = True
    page: int = 1000
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)
    redirects: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(_Handler):
            fake = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def gets(self, part: str) -> list[dict[str, str]]:
        """Headers of the GET requests whose path holds ``part``."""
        return [headers for method, path, headers in self.log if method == "GET" and part in path]

    def fault(self, path: str) -> Fault | None:
        """The fault of the next request for ``path``, used up once."""
        for each in self.faults:
            if each.path == path and each.times > 0:
                each.times -= 1
                return each
        return None


def tree_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, as ``FakeHub.files``."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def git_hash(data: bytes) -> str:
    """The id git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, BrokenPipeError):
            pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.fake.log.append((self.command, self.path, dict(self.headers)))
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path in self.fake.redirects:
            return self._answer(302, b"", {"Location": self.fake.redirects[path]})
        if path.startswith("/files/"):
            return self._file(path.removeprefix("/files/"), {})
        if path.startswith("/cdn/"):
            return self._file(path.removeprefix("/cdn/"), {})
        if path.startswith("/api/datasets/"):
            return self._api(path.removeprefix("/api/datasets/"), parse_qs(parts.query))
        if path.startswith("/datasets/"):
            return self._resolve(path.removeprefix("/datasets/"))
        return self._answer(404, b"", {})

    def _api(self, path: str, query: dict[str, list[str]]) -> None:
        if not path.startswith(REPO + "/"):
            return self._error(401, "RepoNotFound", "Repository not found")
        kind, _, revision = path.removeprefix(REPO + "/").partition("/")
        if revision not in ("main", "v1.0", COMMIT):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if fault := self.fake.fault(f"api/{kind}"):
            return self._answer(fault.status, b"{}", fault.headers)
        if kind == "revision":
            return self._answer(200, json.dumps({"id": REPO, "sha": COMMIT, "siblings": []}).encode(), JSON)
        first = int(query.get("cursor", ["0"])[0])
        entries = [_entry(name, data) for name, data in sorted(self.fake.files.items())]
        page = entries[first : first + self.fake.page]
        more = first + self.fake.page < len(entries)
        address = f"{self.fake.url}{urlsplit(self.path).path}?recursive=true&cursor={first + self.fake.page}"
        return self._answer(
            200, json.dumps(page).encode(), JSON | ({"Link": f'<{address}>; rel="next"'} if more else {})
        )

    def _resolve(self, path: str) -> None:
        if not path.startswith(REPO + "/resolve/"):
            return self._error(404, "RepoNotFound", "Repository not found")
        revision, _, name = path.removeprefix(REPO + "/resolve/").partition("/")
        if revision != COMMIT:
            return self._error(404, "RevisionNotFound", "Invalid rev id")
        if name not in self.fake.files:
            return self._error(404, "EntryNotFound", "Entry not found")
        if self.fake.gated:
            return self._error(403, "GatedRepo", "Access to this dataset is restricted")
        data = self.fake.files[name]
        head = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if len(data) < LFS_FROM:
            return self._file(name, head | {"ETag": f'"{git_hash(data)}"'})
        digest = hashlib.sha256(data).hexdigest()
        head |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "ETag": f'"{git_hash(data)}"'}
        elsewhere = self.fake.url.replace("127.0.0.1", "localhost")  # another host, as a CDN is
        return self._answer(302, b"", head | {"Location": f"{elsewhere}/cdn/{name}"})

    def _file(self, name: str, head: dict[str, str]) -> None:
        data = self.fake.files.get(name)
        if data is None:
            return self._answer(404, b"", {})
        fault = self.fake.fault(name) if self.command == "GET" else None
        if fault is not None and fault.status:
            return self._answer(fault.status, b"", fault.headers)
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        head = ({"ETag": etag} if self.fake.etags else {}) | head
        wanted = self.headers.get("Range", "")
        start, status = 0, 200
        if wanted and self.fake.ranges and self.headers.get("If-Range", etag) == etag:
            start, status = int(wanted.removeprefix("bytes=").partition("-")[0]), 206
            if start >= len(data):
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            head["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._answer(status, data[start:], head, fault)

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, b"{}", JSON | {"X-Error-Code": code, "X-Error-Message": message})

    def _answer(self, status: int, body: bytes, head: dict[str, str], fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name, value)
        if self.fake.length or status != 200:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.corrupt:
            body = bytes([body[0] ^ 1]) + body[1:]
        ends = [each for each in (fault and fault.cut, fault and fault.hold) if each is not None]
        first = body[: ends[0]] if ends else body
        self.wfile.write(first)
        self.fake.sent += len(first)
        if fault is not None and fault.hold is not None:
            self.wfile.flush()
            self.fake.holding.set()
            self.fake.release.wait(30)
            self.wfile.write(body[len(first) :])
        if (fault is not None and fault.cut is not None) or not self.fake.length:
            self.wfile.flush()
            self.close_connection = True


JSON = {"Content-Type": "application/json"}


def _entry(name: str, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
    if len(data) >= LFS_FROM:
        found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return found
