"""java-service with a small HTTP server that compiles and collects, and what it may not do."""

import json
import os
import signal

from tests.applications import application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts, services
from tests.kernel.profiles.examples import examples

# Work for the compiler and the collector in each answer; /gc says how often the latter has run.
SERVER = """\
import com.sun.net.httpserver.HttpServer;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.concurrent.Executors;

public class Server {
    static long work() {
        var kept = new ArrayList<byte[]>();
        long sum = 0;
        for (int i = 0; i < 200; i++) {
            kept.add(new byte[1024]);
            for (int j = 0; j < 100; j++) sum = (sum + (long) i * j) % 1000003;
        }
        return sum + kept.size();
    }

    static String beans() {
        long runs = 0;
        for (var bean : ManagementFactory.getGarbageCollectorMXBeans()) runs += bean.getCollectionCount();
        var compiler = ManagementFactory.getCompilationMXBean();
        return "{\\"runs\\": " + runs + ", \\"compiled\\": " + compiler.getTotalCompilationTime()
            + ", \\"name\\": \\"" + compiler.getName() + "\\"}";
    }

    public static void main(String[] words) throws Exception {
        var place = new InetSocketAddress(System.getenv("HOST"), Integer.parseInt(System.getenv("PORT")));
        var server = HttpServer.create(place, 0);
        server.createContext("/", exchange -> {
            var text = exchange.getRequestURI().getPath().equals("/gc") ? beans() : Long.toString(work());
            var body = text.getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(4));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("stopped")));
        server.start();
    }
}
"""


def work() -> int:
    total = 0
    for i in range(200):
        for j in range(100):
            total = (total + i * j) % 1000003
    return total + 200


def build(sandbox: Sandbox) -> str:
    """A directory with the server compiled, and the same in an archive."""
    javac = application("javac")
    application("java")
    directory = sandbox.mkdir("app")
    sandbox.write("app/Server.java", SERVER)
    jar = os.path.join(os.path.dirname(os.path.realpath(javac)), "jar")
    for words in (
        [javac, "-J-XX:TieredStopAtLevel=1", "Server.java"],
        [jar, "--create", "--file", "app.jar", "--main-class", "Server", "Server.class"],
    ):
        done = sandbox.program(words, cwd=directory, timeout=60)
        assert done.returncode == 0, done
    return directory


def test_it_answers_under_load_compiles_and_collects(sandbox: Sandbox) -> None:
    archive, classes = examples("java-service")
    directory = build(sandbox)
    for example in (archive, classes):
        port = services.free_port()
        arguments = services.command(sandbox, example, {"/srv/app": directory}, {"port": str(port)})
        at = arguments.index("--") + 2 if "--" in arguments else len(arguments)
        if "--" in arguments:
            arguments[at:at] = [
                "-Xmx64m",
                "-XX:+UseParallelGC",
                "-Dsun.net.httpserver.nodelay=true",
            ]
        with services.running(sandbox, arguments, services.answers(port)) as service:
            assert services.load(port) > 50
            assert services.get(port) == (200, str(work()).encode())
            beans = json.loads(services.get(port, "/gc")[1])
            assert beans["compiled"] > 0
            assert beans["runs"] > 0 or example == archive
            assert service.stop() == 128 + signal.SIGTERM
        assert service.said() == "stopped\n"


def test_the_machines_collectors_start(sandbox: Sandbox) -> None:
    """Each asks the kernel for memory in ways of its own; an unknown one is an error of Java's."""
    directory = build(sandbox)
    for option in ("-XX:+UseSerialGC", "-XX:+UseG1GC", "-XX:+UseZGC", "-XX:+UseNUMA"):
        done = sandbox.shipped(
            "java-service",
            "java",
            option,
            "-Xmx64m",
            "-version",
            variables={"directory": directory},
        )
        assert done.returncode == 0, (option, done)
        assert "warning" not in done.stderr.lower(), (option, done)


def test_it_cannot_reach_what_it_wasnt_given(sandbox: Sandbox) -> None:
    directory = sandbox.mkdir("app")
    file = sandbox.write("app/Server.java", SERVER)
    for network, granted in (("none", []), ("host", [attempts.HOST_LOOPBACK])):
        attempts.assert_refused(
            sandbox,
            "java-service",
            variables={"directory": directory, "network": network},
            granted=granted,
            unchangeable=[directory, file],
        )
