"""A small HTTP service on a socket file; it answers with what it knows about itself."""

import http.server
import json
import os
import signal
import socketserver
import sys

SHOWN = ("Uid", "NSpid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        with open("/proc/self/status", encoding="ascii") as status:
            fields = dict(line.split(":", 1) for line in status)
        answer = {name: fields[name].strip() for name in SHOWN}
        answer["environment"] = " ".join(sorted(os.environ))
        answer["/"] = " ".join(sorted(os.listdir("/")))
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *args: object) -> None:
        """Say nothing: the demo speaks."""


def stop(*_: object) -> None:
    sys.exit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    with socketserver.UnixStreamServer(sys.argv[1], Handler) as server:
        server.serve_forever()


main()
