"""Servers of files on the host's loopback, for profiles that have the host's network."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
        pass


def server_of(directory: str) -> ThreadingHTTPServer:
    """A server that is bound, but not yet running."""
    handler = functools.partial(_Quiet, directory=directory)
    return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def start(server: ThreadingHTTPServer) -> None:
    """Runs the server until its `shutdown`."""
    threading.Thread(target=server.serve_forever, args=(0.02,)).start()


def address(server: ThreadingHTTPServer, scheme: str = "http") -> str:
    """The URL of the server's top."""
    return f"{scheme}://localhost:{server.server_address[1]}"


@contextlib.contextmanager
def serving(directory: str) -> Iterator[str]:
    """The URL at which the directory's files are served meanwhile."""
    with server_of(directory) as server:
        start(server)
        try:
            yield address(server)
        finally:
            server.shutdown()
