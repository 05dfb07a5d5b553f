"""node-service with a cluster and worker threads, and what it may not do."""

import json
import os
import signal
from functools import partial

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts, services
from tests.kernel.profiles.examples import examples

# Each process of the cluster answers by a thread of its own, which compiles what it runs often.
SERVER = """\
const cluster = require('node:cluster');
const http = require('node:http');
const { Worker, isMainThread, parentPort } = require('node:worker_threads');

function count(n) {
  let sum = 0;
  for (let i = 0; i < n; i++) sum = (sum + i * i) % 1000003;
  return sum;
}

if (!isMainThread) {
  parentPort.on('message', (n) => parentPort.postMessage(count(n)));
} else if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork();
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.kill();
  });
  cluster.on('exit', () => {
    if (Object.keys(cluster.workers).length === 0) process.exit(0);
  });
} else {
  const thread = new Worker(__filename);
  const waiting = [];
  thread.on('message', (sum) => {
    const response = waiting.shift();
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ sum, pid: process.pid, mode: process.env.NODE_ENV }));
  });
  const server = http.createServer((request, response) => {
    waiting.push(response);
    thread.postMessage(10000);
  });
  server.listen(Number(process.env.PORT), process.env.HOST);
  process.on('SIGTERM', () => process.exit(0));
}
"""
SUM = sum(i * i for i in range(10000)) % 1000003

SOCKET_SERVER = """\
require('node:http').createServer((request, response) => {
  require('node:fs').readFile(__filename, (error, text) => response.end(error ? String(error) : text));
}).listen(process.argv[2]);
process.on('SIGTERM', () => process.exit(0));
"""


def test_a_cluster_with_threads_answers_under_load(sandbox: Sandbox) -> None:
    application("node")
    first, _ = examples("node-service")
    directory = sandbox.mkdir("app")
    sandbox.write("app/server.js", SERVER)
    port = services.free_port()
    arguments = services.command(sandbox, first, {"/srv/app": directory}, {"port": str(port)})
    with services.running(sandbox, arguments, services.answers(port)) as service:
        assert services.load(port) > 50
        processes = set()

        def both_have_answered() -> bool:
            answer = json.loads(services.get(port)[1])
            assert (answer["sum"], answer["mode"]) == (SUM, "production")
            processes.add(answer["pid"])
            return len(processes) == 2

        service.await_that(both_have_answered)
        assert service.stop() == 0
    assert service.said() == ""


def test_another_program_of_the_directory_and_a_socket_file(sandbox: Sandbox) -> None:
    application("node")
    _, second = examples("node-service")
    directory, state = sandbox.mkdir("app"), sandbox.mkdir("state", 0o700)
    sandbox.write("app/dist/index.js", SOCKET_SERVER)
    profile = sandbox.write(
        "app.toml",
        f"""
schema = 1
[profile]
extends = "node-service"
[[mounts]]
type = "bind"
source = "{state}"
target = "{state}"
writable = true
idmap = true
""",
    )
    place = f"{state}/http.sock"
    arguments = services.command(
        sandbox, second, {"/srv/app": directory, "node-service": profile, "8080": place}
    )
    arguments += ["--", "node", "dist/index.js", place]
    with services.running(sandbox, arguments, services.answers(place)) as service:
        assert services.get(place) == (200, SOCKET_SERVER.encode())
        assert os.stat(place).st_uid == sandbox.uid
        assert service.stop() == 0


def test_it_cannot_reach_what_it_wasnt_given(sandbox: Sandbox) -> None:
    directory = sandbox.mkdir("app")
    file = sandbox.write("app/server.js", SERVER)
    for network, granted in (("none", []), ("host", [attempts.HOST_LOOPBACK])):
        attempts.assert_refused(
            sandbox,
            "node-service",
            variables={"directory": directory, "network": network},
            granted=granted,
            unchangeable=[directory, file],
        )


def test_nodes_own_ways_out_are_closed_too(sandbox: Sandbox) -> None:
    """A module that was tampered with starts programs and reads files, but only what is there."""
    node = application("node")
    directory = sandbox.mkdir("app")
    key = os.path.join(sandbox.home, "token")
    script = """
        const fs = require('fs'), child = require('child_process');
        const tries = {
          read: () => fs.readFileSync(process.argv[1]),
          list: () => fs.readdirSync(process.argv[2]),
          write: () => fs.writeFileSync(process.argv[3] + '/x', ''),
          start: () => child.execFileSync('/bin/cat', [process.argv[1]], { stdio: 'pipe' }),
        };
        const answers = {};
        for (const [name, attempt] of Object.entries(tries)) {
          try { attempt(); answers[name] = 'ok'; }
          catch (error) { answers[name] = error.code || 'status ' + error.status; }
        }
        console.log(JSON.stringify(answers));
    """
    try:
        with open(key, "w", encoding="ascii") as file:
            file.write("a token\n")
        os.chmod(key, 0o644)
        words = ["-e", script, key, sandbox.home, directory]
        outside = json.loads(sandbox.program([node, *words]).stdout)
        assert outside == {"read": "ok", "list": "ok", "write": "ok", "start": "ok"}
        done = sandbox.shipped("node-service", "node", *words, variables={"directory": directory})
    finally:
        os.remove(key)
    refused = {"read": "ENOENT", "list": "ENOENT", "write": "EROFS", "start": "status 1"}
    assert json.loads(done.stdout) == refused


def _is_ready(service: services.Service) -> bool:
    return "ready" in service.said()


def test_it_ends_at_the_signal_that_sbx_gets(sandbox: Sandbox) -> None:
    application("node")
    first, _ = examples("node-service")
    directory = sandbox.mkdir("app")
    sandbox.write("app/server.js", "setInterval(() => {}, 1000); console.log('ready');")
    arguments = services.command(sandbox, first, {"/srv/app": directory})
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with services.running(sandbox, arguments, lambda: True) as service:
            service.await_that(partial(_is_ready, service))
            assert service.stop(sig) == 128 + sig
