"""Puts the kept results into the documents, between their markers.

    python -m benchmarks.report           write README.md and what else it has markers in
    python -m benchmarks.report --check   end with 1 where a document isn't what would be written

A result that isn't there is named as missing; nothing is made up for it.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks import common
from benchmarks.outcomes import is_stopped
from benchmarks.run import NAMES

TREE: Final = os.path.dirname(common.HERE)
Results = Mapping[str, Mapping[str, Any]]


def load(directory: str) -> Results:
    """Every result that is kept, by the name of its benchmark."""
    found = {}
    for entry in sorted(os.listdir(directory) if os.path.isdir(directory) else ()):
        if entry.endswith(".json"):
            with open(os.path.join(directory, entry), encoding="utf-8") as file:
                found[entry.removesuffix(".json")] = json.load(file)
    return found


def missing(name: str) -> str:
    return (
        f"Not measured yet: `{name}` (benchmarks/results/{name}.json is missing; "
        f"`./dev bench {name}` makes it)."
    )


def circumstances(content: Mapping[str, Any]) -> str:
    """Where and when the numbers of one result were taken."""
    facts = content["facts"]
    machine = f"{facts['cpus']} x {facts['cpu']}" + (", virtual" if facts["hypervisor"] else "")
    user = "root" if facts["root"] else "a normal user"
    version = facts["versions"].get("sbx", "no sbx")
    return (
        f"{version} on Linux {facts['kernel']}, {machine}, as {user}, "
        f"load {facts['load']:.1f}, {facts['time'][:10]}"
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(results: Results) -> str:
    """What was to be reached and what was, and the launch beside its peers."""
    order = [*NAMES, *(name for name in results if name not in NAMES)]
    rows = []
    for name in order:
        for figure in results.get(name, {}).get("figures", ()):
            sign = "≥" if figure["at_least"] else "≤"
            rows.append(
                (
                    figure["name"],
                    f"{figure['value']:.3g}{figure['unit']}",
                    f"{sign} {figure['reach']:.3g}{figure['unit']}",
                    "yes" if figure["reached"] else "no",
                )
            )
    parts = [markdown(("Figure", "Measured", "To reach", "Reached"), rows)] if rows else []
    parts += [missing(name) for name in NAMES if name not in results]
    if "startup" in results:
        parts += [launches(results["startup"])]
    return "\n\n".join(parts)


def launches(content: Mapping[str, Any]) -> str:
    """A launch of /bin/true: every subject with what its payload gets."""
    results, given = content["results"], content["given"]
    base = results["bubblewrap"]["median"]
    rows = []
    for name, each in sorted(results.items(), key=lambda item: float(item[1]["median"])):
        seen = given.get(name, {})
        known = "new namespaces" in seen
        rows.append(
            (
                name,
                f"{each['median']:.2f} ± {each['mad']:.2f}",
                f"{each['median'] / base:.2f}",
                str(len(seen["new namespaces"])) if known else "",
                ("yes" if seen["filter"] else "no") if known else "",
                str(seen["capabilities"]) if known else "",
            )
        )
    head = ("/bin/true", "ms", "to bubblewrap", "Namespaces", "Filter", "Capabilities")
    note = (
        f"Medians and median deviations of {content['rounds']} rounds, all in turn: "
        f"{circumstances(content)}."
    )
    absent = [f"Not here: {name} ({why})." for name, why in content["absent"].items()]
    return "\n\n".join([markdown(head, rows), note, *absent])


def stages(results: Results) -> str:
    """Where a launch spends its time."""
    content = results.get("stages")
    if content is None:
        return missing("stages")
    rows = [
        (name, f"{each['median']:.0f}", f"{each['mad']:.0f}")
        for name, each in content["results"].items()
    ]
    note = f"Medians of {content['rounds']} launches of /bin/true: {circumstances(content)}."
    return "\n\n".join([markdown(("Stage", "us", "±"), rows), note])


def stopped(results: Results) -> str:
    """What each sandbox stops, by class and by attempt, and how each was called."""
    if "isolation" not in results:
        return missing("isolation")
    kept = [results[name] for name in ("isolation", "isolation-guest") if name in results]
    return "\n\n".join(part for content in kept for part in _attempts(content))


def _attempts(content: Mapping[str, Any]) -> list[str]:
    found = content["results"]
    names = [name for name in content["notes"] if name not in content["absent"]]
    counts = [("all", list(found.values()))]
    for kind in dict.fromkeys(each["class"] for each in found.values()):
        counts.insert(-1, (kind, [each for each in found.values() if each["class"] == kind]))
    classes = [
        (
            kind,
            str(len(each)),
            *(str(sum(_is_stopped(one, name) for one in each)) for name in names),
        )
        for kind, each in counts
    ]
    attempts = [
        (
            str(each["check"]),
            f"`{each['attempt']}`" + (each["circumstances"] and f", {each['circumstances']}"),
            "; ".join([each["weakness"], *each["cves"]]),
            *(
                ("" if _is_stopped(each, name) else "**")
                + each["outcomes"][name]
                + ("" if _is_stopped(each, name) else "**")
                for name in names
            ),
        )
        for each in found.values()
    ]
    return [
        f"## On Linux {content['facts']['kernel']}",
        markdown(("Class", "Attempts", *names), classes),
        "\n".join(f"Not here: {name} ({why})." for name, why in content["absent"].items()),
        f"{circumstances(content)}.",
        "### Each attempt",
        markdown(("Check", "Attempt", "Weakness", *names), attempts),
        _not_compared(content["not compared"]),
        "### How each was called",
        "\n".join(
            f"- {name}: {content['notes'][name]}." for name in names if content["notes"][name]
        ),
        *_commands(content["commands"], names),
        *_profiles(content["profiles"]),
    ]


def _profiles(profiles: Mapping[str, str]) -> list[str]:
    """What sbx was granted, and what else where a row says so."""
    parts = ["sbx's profile:", f"```toml\n{profiles[''].strip()}\n```"]
    for label, text in profiles.items():
        if label:
            parts += [f"{label[0].upper()}{label[1:]}:", f"```toml\n{text.strip()}\n```"]
    return parts


def _not_compared(attempts: Sequence[Mapping[str, Any]]) -> str:
    """The attempts that are sbx's alone, by the reason."""
    reasons = dict.fromkeys(each["why"] for each in attempts)
    lines = [
        f"- {why}: "
        + ", ".join(
            f"`{each['attempt']}` ({each['check']})" for each in attempts if each["why"] == why
        )
        for why in reasons
    ]
    return "\n".join(["Attempts that sbx's tests make and that are not compared:", "", *lines])


def _commands(commands: Mapping[str, Mapping[str, str]], names: Sequence[str]) -> list[str]:
    """Every command line, and under other circumstances those that are others there."""
    parts = []
    usual = commands[""]
    for label, each in commands.items():
        others = [name for name in names if not label or each[name].split() != usual[name].split()]
        # Each of sbx's profiles has a file of its own, and that alone is no other way to call it.
        others = [name for name in others if not label or not name.startswith("sbx")]
        if others:
            lines = "\n".join(f"{name}:\n    {each[name]}" for name in others)
            head = f"{label[0].upper()}{label[1:]}:\n\n" if label else ""
            parts.append(f"{head}```text\n{lines}\n```")
    return parts


def _is_stopped(attempt: Mapping[str, Any], name: str) -> bool:
    return is_stopped(attempt["outcomes"][name])


def survived(results: Results) -> str:
    """What became of a fault at each system call, by kind of launch and process, and by fault."""
    if "faults" not in results:
        return "Not swept yet: `./dev faults --json benchmarks/results/faults.json`."
    launches = results["faults"]["launches"]
    kinds = ("refused", "ran whole", "stopped", "killed", "broken")
    rows, by_fault = [], dict[str, dict[str, int]]()
    for name, launch in launches.items():
        for role, process in launch["processes"].items():
            verdicts = process["verdicts"]
            counts = [sum(found.get(kind, 0) for found in verdicts.values()) for kind in kinds]
            numbers = (process["calls"], process["faults"], *counts, process["not met"])
            rows.append((f"{name}: {role}", *map(str, numbers)))
            for fault, found in verdicts.items():
                sums = by_fault.setdefault(fault, {})
                sums.update({kind: sums.get(kind, 0) + found.get(kind, 0) for kind in kinds})
    head = ("Launch: process", "Calls", "Faults", *(kind.capitalize() for kind in kinds), "Not met")
    faults = [(name, *(str(found[kind]) for kind in kinds)) for name, found in by_fault.items()]
    dates = sorted(launch["time"][:10] for launch in launches.values())
    one = next(iter(launches.values()))
    note = (
        f"{results['faults']['faults']} faults: {one['sbx']} on Linux {one['kernel']}, {dates[-1]}."
    )
    parts = (markdown(head, rows), note, markdown(("Fault", *head[3:-1]), faults))
    return "\n\n".join(parts)


BLOCKS: Final[Sequence[tuple[str, str, Callable[[Results], str]]]] = (
    ("README.md", "figures", figures),
    ("docs/architecture.md", "stages", stages),
    ("docs/isolation.md", "attempts", stopped),
    ("docs/isolation.md", "faults", survived),
)


def filled(text: str, marker: str, content: str) -> str:
    """`text` with `content` between the marker's lines. Raises ValueError without markers."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no {begin} with an {end} behind it")
    return f"{before}{begin}\n{content}\n{end}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--results", default=common.RESULTS, help="where the JSON is")
    options = parser.parse_args()
    results = load(options.results)
    stale = []
    for name, marker, build in BLOCKS:
        path = os.path.join(TREE, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        new = filled(text, marker, build(results))
        if new != text:
            stale.append(name)
            if not options.check:
                with open(path, "w", encoding="utf-8") as out:
                    out.write(new)
    if options.check and stale:
        print(
            f"out of date: {', '.join(stale)}\nhint: python -m benchmarks.report", file=sys.stderr
        )
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
