"""How a service is started, stopped and reloaded, and how long each may take."""

import signal
import time

from tests.kernel.service.services import SECONDS, Services, await_up

TERM, HUP, USR1 = int(signal.SIGTERM), int(signal.SIGHUP), int(signal.SIGUSR1)
ENDED = 124


def test_a_service_is_asked_to_end_by_its_own_signal(services: Services) -> None:
    text = '[service]\nstop_signal = "SIGUSR1"\n'
    with services.start(text, "out", "up", "await", "exit", "3") as process:
        await_up(process)
        process.terminate()
        assert process.communicate(timeout=SECONDS)[0] == f"signal {USR1}\n"
        assert process.returncode == 3
    assert services.state() == {}


def test_a_program_that_runs_is_ready(services: Services) -> None:
    with services.start("[service]\nstop_signal = 'SIGTERM'\n", "await") as process:
        state = services.await_state("ready")
        assert int(state["main"]) > 1
        process.kill()


def test_what_ignores_the_request_is_killed_in_time(services: Services) -> None:
    with services.start(
        '[service]\nstop_timeout = "300ms"\n', "out", "up", "sleep", "60000"
    ) as process:
        await_up(process)
        begun = time.monotonic()
        process.terminate()
        services.await_state("stopping")
        assert process.wait(SECONDS) == 128 + signal.SIGKILL
        assert time.monotonic() - begun >= 0.3


def test_a_default_that_is_written_down_holds_as_well(services: Services) -> None:
    with services.start(
        '[service]\nstop_timeout = "30s"\n', "out", "up", "await", "exit", "4"
    ) as process:
        await_up(process)
        process.terminate()
        assert process.wait(SECONDS) == 4


def test_asking_twice_neither_shortens_the_time_nor_repeats_the_signal(services: Services) -> None:
    words = ("await", "sleep", "300", "exit", "5")
    with services.start('[service]\nstop_timeout = "20s"\n', "out", "up", *words) as process:
        await_up(process)
        process.terminate()
        services.await_state("stopping")
        process.terminate()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=SECONDS)[0] == f"signal {TERM}\n"
        assert process.returncode == 5


def test_a_stop_that_names_a_shorter_time_shortens_it(services: Services) -> None:
    sandbox = services.sandbox
    with services.start(
        '[service]\nstop_timeout = "1h"\n', "out", "up", "sleep", "60000"
    ) as process:
        await_up(process)
        process.terminate()
        services.await_state("stopping")
        assert sandbox.program([sandbox.launcher, "stop", "-t", "100ms", "web"]).returncode == 0
        assert process.wait(SECONDS) == 128 + signal.SIGKILL


def test_any_other_signal_is_handed_on(services: Services) -> None:
    with services.start(
        "[service]\nstop_signal = 'SIGTERM'\n", "out", "up", "await", "exit", "6"
    ) as process:
        await_up(process)
        process.send_signal(signal.SIGUSR2)  # handed on, as any other
        assert process.wait(SECONDS) == 6


def test_a_reload_is_the_profiles_signal(services: Services) -> None:
    text = '[service]\nreload_signal = "SIGUSR1"\n'
    with services.start(text, "out", "up", "await", "await", "exit", "0") as process:
        await_up(process)
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        assert process.stdout.readline() == f"signal {USR1}\n"
        process.terminate()
        assert process.stdout.readline() == f"signal {TERM}\n"
        assert process.wait(SECONDS) == 0


def test_the_profiles_own_signals_mean_the_same_to_the_supervisor(services: Services) -> None:
    """The unit of `sbx systemd` sends them."""
    text = '[service]\nstop_signal = "SIGUSR2"\nreload_signal = "SIGUSR1"\n'
    with services.start(text, "out", "up", "await", "await", "sleep", "300") as process:
        await_up(process)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout is not None
        assert process.stdout.readline() == f"signal {USR1}\n"
        process.send_signal(signal.SIGUSR2)
        services.await_state("stopping")
        assert process.wait(SECONDS) == 0


def test_a_service_that_lives_too_long_is_asked_to_end(services: Services) -> None:
    done = services.run('[service]\nruntime_max = "300ms"\n', "await", "exit", "0")
    assert (done.stdout, done.returncode) == (f"signal {TERM}\n", ENDED)


def test_a_start_that_takes_too_long_is_the_end(services: Services) -> None:
    text = '[service]\ntype = "notify"\nstart_timeout = "300ms"\nstop_timeout = "300ms"\n'
    done = services.run(text, "sleep", "60000")
    assert done.returncode == ENDED


def test_a_program_can_ask_for_more_time_within_bounds(services: Services) -> None:
    text = '[service]\ntype = "notify"\nstart_timeout = "150ms"\nstop_timeout = "100ms"\n'
    more = ("say", "EXTEND_TIMEOUT_USEC=60000000", "sleep", "500", "say", "READY=1")
    assert services.run(text, *more, "exit", "7").returncode == 7
    begun = time.monotonic()
    assert services.run(text, *more[:2], "sleep", "60000").returncode == ENDED
    assert 1.5 <= time.monotonic() - begun < SECONDS


def test_a_warm_launch_does_the_same(services: Services) -> None:
    text = '[service]\nruntime_max = "100ms"\n'
    done = services.run(text, "await", "exit", "0", warm=True)
    assert (done.stdout, done.returncode) == (f"signal {TERM}\n", ENDED)
