"""A stand-in of the Hugging Face hub's HTTP API on loopback, with what downloads need.

It gives the real hub's responses: revisions resolved to commits, the file tree, files by commit
with their ETag and `X-Repo-Commit`, large files by redirect to a second address with
`X-Linked-Size` and `X-Linked-Etag`, ranges, and errors with `X-Error-Code`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

LARGE_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".png")


@dataclass
class Fault:
    """What goes wrong with requests whose path contains a given text.

    Args:
        status: answer with this status instead, if it isn't 0.
        code: `X-Error-Code` of that answer.
        cut: number of bytes of the body to send before closing the connection.
        body: send this instead of the file, with its own length.
        hangs: never respond.
    """

    status: int = 0
    code: str = ""
    cut: int | None = None
    body: bytes | None = None
    hangs: bool = False


@dataclass
class Repository:
    """Files by commit, and commits by branch or tag."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)


class HubStandIn:
    """A running server; use it as a context manager."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: dict[str, Fault] = {}
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()
        stand_in = self

        class Handler(_Handler):
            hub = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def large_url(self) -> str:
        """Another host than `url` to the client, as the real hub's store of large files is."""
        return f"http://localhost:{self._server.server_address[1]}/large"

    def publish(self, name: str, folder: Path, *, branch: str = "main") -> str:
        """Publish a folder's files as a new commit of a repository; return the commit's hash."""
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        digest = hashlib.sha1(name.encode())
        for path, content in files.items():
            digest.update(path.encode() + content)
        repository = self.repositories.setdefault(name, Repository())
        commit = digest.hexdigest()
        repository.commits[commit] = files
        repository.references[branch] = commit
        return commit

    def downloaded(self) -> set[str]:
        """Paths of all requests for a file's content."""
        return {path for method, path in self.requests if method == "GET" and "/api/" not in path}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the tests read `requests`."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        fault = next((fault for text, fault in self.hub.faults.items() if text in path), Fault())
        if fault.hangs:
            self.hub.closing.wait()
            self.close_connection = True
        elif fault.status:
            self._fail(fault.status, fault.code)
        elif path.startswith("/api/models/"):
            self._answer_api(path.removeprefix("/api/models/").split("/"), fault)
        elif path.startswith("/large/"):
            _, _, owner, name, commit, *rest = path.split("/")
            self._send(self._files(f"{owner}/{name}", commit)["/".join(rest)], {}, fault)
        else:
            self._answer_file(path.removeprefix("/").split("/"), fault)

    def _answer_api(self, parts: list[str], fault: Fault) -> None:
        name, action = "/".join(parts[:2]), parts[2] if len(parts) > 2 else "revision"
        if name not in self.hub.repositories:
            return self._fail(404, "RepoNotFound")
        commit = self._commit(name, "/".join(parts[3:]) or "main")
        if commit is None:
            return self._fail(404, "RevisionNotFound")
        files = self._files(name, commit)
        if action == "tree":
            answer: Any = [
                {"type": "file", "path": path, "size": len(content), "oid": _etag(content)}
                | ({"lfs": _large(content)} if path.endswith(LARGE_SUFFIXES) else {})
                for path, content in files.items()
            ]
        else:
            siblings = [{"rfilename": path} for path in files]
            answer = {"id": name, "sha": commit, "private": False, "siblings": siblings}
        body = fault.body or json.dumps(answer).encode()
        return self._send(body, {"Content-Type": "application/json"}, Fault(cut=fault.cut))

    def _answer_file(self, parts: list[str], fault: Fault) -> None:
        name, path = "/".join(parts[:2]), "/".join(parts[4:])
        if name not in self.hub.repositories:
            return self._fail(404, "RepoNotFound")
        commit = self._commit(name, parts[3])
        if commit is None:
            return self._fail(404, "RevisionNotFound")
        content = self._files(name, commit).get(path)
        if content is None:
            return self._fail(404, "EntryNotFound")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(content)}"'}
        if not path.endswith(LARGE_SUFFIXES):
            return self._send(content, headers, fault)
        self.send_response(302)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("X-Linked-Etag", f'"{_large(content)["oid"]}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Location", f"{self.hub.large_url}/{name}/{commit}/{path}")
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def _send(self, content: bytes, headers: dict[str, str], fault: Fault) -> None:
        content = content if fault.body is None else fault.body
        start, asked = 0, self.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                return self._fail(416, "")
        self.send_response(206 if asked else 200)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return None
        end = len(content) if fault.cut is None else fault.cut
        self.wfile.write(content[start:end])
        if fault.cut is not None:
            self.close_connection = True
        return None

    def _fail(self, status: int, code: str) -> None:
        body = b'{"error": "as asked"}'
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "as asked")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _commit(self, name: str, revision: str) -> str | None:
        repository = self.hub.repositories[name]
        if revision in repository.commits:
            return revision
        return repository.references.get(revision)

    def _files(self, name: str, commit: str) -> dict[str, bytes]:
        return self.hub.repositories[name].commits[commit]


def _etag(content: bytes) -> str:
    """The hash that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _large(content: bytes) -> dict[str, Any]:
    return {
        "oid": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "pointerSize": 134,
    }
