"""The order of denials, what is one denial, and the TOML that would allow them."""

import tomllib
from typing import Any

import msgspec

from sandbox.explain.denial import Advice, Denial, Layer
from sandbox.explain.report import as_json, report, snippet

READ = ("filesystem", "read")


def denial(subject: str = "/x", **more: Any) -> Denial:
    found: dict[str, Any] = {
        "call": "openat",
        "error": "ENOENT",
        "layer": Layer.MOUNT,
        "reason": "it isn't there",
        "advice": (Advice(READ, subject, add=True),),
    }
    return Denial(subject=subject, **{**found, **more})


def subjects(*denials: Denial) -> list[str]:
    return [d.subject for d in report(denials).denials]


def test_the_last_ones_of_what_failed_come_first() -> None:
    assert subjects(
        denial("/early", last=1),
        denial("/late", last=9),
        denial("/failed-early", last=2, failed=True),
        denial("/failed-late", last=3, failed=True),
        denial("/passing", last=10, probe=True),
    ) == ["/failed-late", "/failed-early", "/late", "/early", "/passing"]


def test_the_likely_ones_are_those_of_processes_that_failed() -> None:
    found = report([denial(f"/{n}", last=n, failed=n < 2, pid=n) for n in range(6)])
    assert (found.likely, [d.subject for d in found.denials[:2]]) == (2, ["/1", "/0"])
    assert report([denial(f"/{n}", last=n) for n in range(6)]).likely == 3


def test_what_is_asked_in_passing_counts_where_a_process_failed_for_nothing_else() -> None:
    found = report([denial("/asked", probe=True, failed=True, pid=4), denial("/other", pid=5)])
    assert [(d.subject, d.probe) for d in found.denials] == [("/asked", False), ("/other", False)]
    found = report(
        [denial("/asked", probe=True, failed=True, pid=4), denial("/other", failed=True, pid=4)]
    )
    assert [d.probe for d in found.denials] == [False, True]


def test_denials_that_differ_only_in_the_call_are_one() -> None:
    found = report(
        [
            denial(call="newfstatat", count=2, last=1, probe=True),
            denial(call="openat", count=3, last=5),
            denial(call="openat", error="EACCES"),
        ]
    )
    first = next(d for d in found.denials if d.error == "ENOENT")
    assert (first.call, first.count, first.last, first.probe) == ("newfstatat, openat", 5, 5, False)
    assert len(found.denials) == 2


def test_what_was_found_elsewhere_or_fails_outside_is_apart() -> None:
    found = report(
        [denial("/found", recovered=True), denial("/outside", layer=Layer.OUTSIDE), denial("/x")]
    )
    assert [d.subject for d in found.denials] == ["/x"]
    assert {d.subject for d in found.others} == {"/found", "/outside"}


def test_the_snippet_is_toml_with_each_thing_once() -> None:
    mode = Advice(("network", "mode"), "host")
    mount = Advice(("mounts",), {"type": "bind", "source": "/a", "target": "/a"}, add=True)
    text = snippet(
        report(
            [
                denial("/one", last=3),
                denial("/two", last=2),
                denial("/two", error="EACCES", last=1),
                denial("/net", advice=(mode,)),
                denial("/net2", advice=(mode,)),
                denial("/a", advice=(mount,)),
                denial("/a2", advice=(mount,)),
                denial("/d", advice=(Advice(("filesystem", "deny"), "/d", remove=True),)),
                denial("/m", advice=(Advice(("mounts", 3, "writable"), True, target="/m"),)),
            ]
        )
    )
    assert tomllib.loads(text) == {
        "filesystem": {"read": ["/one", "/two"]},
        "network": {"mode": "host"},
        "mounts": [{"type": "bind", "source": "/a", "target": "/a"}],
    }
    assert '# change: take "/d" out of filesystem.deny' in text
    assert '# change: writable = true in the [[mounts]] of "/m"' in text


def test_what_is_asked_in_passing_is_not_advised_beside_firm_denials() -> None:
    assert "/asked" not in snippet(report([denial("/asked", probe=True), denial("/x")]))
    assert "/asked" in snippet(report([denial("/asked", probe=True)]))


def test_many_files_of_one_directory_become_the_directory_and_no_more() -> None:
    deep = [denial(f"/srv/app/lib/{n}") for n in range(5)]
    text = snippet(
        report([*deep, denial("/srv/app/lib/sub/x"), *map(denial, ("/a", "/b", "/c", "/d"))])
    )
    assert set(tomllib.loads(text)["filesystem"]["read"]) == {
        "/srv/app/lib",
        "/a",
        "/b",
        "/c",
        "/d",
    }


def test_a_home_is_never_advised_as_a_whole() -> None:
    files = [denial(f"/home/alice/.{n}") for n in range(9)]
    assert len(tomllib.loads(snippet(report(files)))["filesystem"]["read"]) == 9


def test_the_document_holds_any_text_and_value() -> None:
    odd = denial(
        "/\udcff\x1b", advice=(Advice(("landlock", "scopes"), ["signal"]),), program="\udcff"
    )
    content = as_json(report([odd]), status=3)
    assert content["status"] == 3
    again = msgspec.json.decode(msgspec.json.encode(content))
    assert again["denials"][0]["advice"][0]["value"] == ["signal"]
    assert again["denials"][0]["subject"] == "/\\udcff\x1b"
