"""The watchdog: who doesn't say WATCHDOG=1 in time is ended."""

import os
import time

from tests.kernel.service.services import NOTIFIES, SECONDS, Manager, Services, await_up

ENDED = 124
GUARDED = NOTIFIES + 'watchdog = "400ms"\nstop_timeout = "300ms"\n'
ALIVE = ("say", "WATCHDOG=1", "sleep", "150")


def test_a_service_that_hangs_is_ended(services: Services) -> None:
    begun = time.monotonic()
    assert services.run(GUARDED, "say", "READY=1", "sleep", "60000").returncode == ENDED
    assert 0.4 <= time.monotonic() - begun < SECONDS


def test_one_that_says_it_is_alive_goes_on(services: Services) -> None:
    done = services.run(GUARDED, "say", "READY=1", *(ALIVE * 6), "exit", "0")
    assert done.returncode == 0


def test_a_slow_start_is_not_its_affair(services: Services) -> None:
    assert services.run(GUARDED, "sleep", "700", "say", "READY=1", "exit", "0").returncode == 0


def test_a_service_can_give_itself_up(services: Services) -> None:
    done = services.run(GUARDED, "say", "READY=1\nWATCHDOG=trigger", "sleep", "60000")
    assert done.returncode == ENDED


def test_the_payload_is_told_of_its_watchdog_by_its_own_id(services: Services) -> None:
    words = ("variable", "WATCHDOG_USEC", "variable", "WATCHDOG_PID", "pid")
    lines = services.run(GUARDED, *words).stdout.splitlines()
    assert lines[0] == "WATCHDOG_USEC=400000"
    assert lines[1].removeprefix("WATCHDOG_PID=") == lines[2].removeprefix("pid ")


def test_the_managers_watchdog_is_handed_on_if_it_is_the_supervisors(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    words = ("variable", "WATCHDOG_USEC")
    env = {**managed, "WATCHDOG_USEC": "250000"}
    assert services.run(GUARDED, *words, env=env).stdout == "WATCHDOG_USEC=250000\n"
    env["WATCHDOG_PID"] = str(os.getpid())
    assert services.run(GUARDED, *words, env=env).stdout == "WATCHDOG_USEC=400000\n"
    del env["WATCHDOG_PID"]
    assert services.run(NOTIFIES, *words, env=env).stdout == "WATCHDOG_USEC=250000\n"
    assert manager.rest() == []


def test_while_a_hung_service_is_ended_the_manager_is_told_that_we_live(
    services: Services, manager: Manager, managed: dict[str, str]
) -> None:
    done = services.run(GUARDED, "say", "READY=1", "sleep", "60000", env=managed)
    assert done.returncode == ENDED
    heard = manager.rest()
    assert heard[:2] == ["READY=1", "STOPPING=1"]
    assert "WATCHDOG=1\n" in heard[2:]


def test_it_is_asked_for_a_core_first(services: Services) -> None:
    text = NOTIFIES + 'watchdog = "200ms"\nstop_timeout = "1h"\n'
    begun = time.monotonic()
    assert services.run(text, "say", "READY=1", "sleep", "60000").returncode == ENDED
    assert time.monotonic() - begun < SECONDS


def test_what_is_paused_is_not_expected_to_say_anything(services: Services) -> None:
    """`sbx pause` leaves this mark, and stops the processes."""
    with services.start(GUARDED, "say", "READY=1", "out", "up", "await", "exit", "0") as process:
        await_up(process)
        place = services.sandbox.mkdir("cgroup")
        with open(os.path.join(place, "frozen"), "w", encoding="ascii") as file:
            file.write("1\n")
        mark = os.path.join(services.sandbox.runtime, "web", "paused")
        with open(mark, "w", encoding="ascii") as file:
            file.write(f"path={place}\0file=frozen\0thawed=0\0")
        time.sleep(1)
        assert process.poll() is None
        process.terminate()
        assert process.wait(SECONDS) == 0
