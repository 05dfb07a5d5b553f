"""All denials of a run, in the order in which a person should read them, and what would allow them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from sandbox.explain.denial import Advice, Denial, toml
from sandbox.profile.resolved import KeyPath, key_text

LIKELY: Final = 3
"""So many of the last denials are marked as the likely cause."""
_CROWD: Final = 4
"""From so many files of one directory on the directory is advised."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was refused.

    `denials` are the sandbox's, the likeliest cause first; `likely` says how many of them those
    are. `others` are refusals that weren't the sandbox's doing. `dropped` counts kinds of refusals
    that were more than is kept, `total` every single refusal.
    """

    denials: tuple[Denial, ...]
    likely: int
    others: tuple[Denial, ...]
    total: int
    dropped: int


def report(denials: Iterable[Denial], *, total: int = 0, dropped: int = 0) -> Report:
    """Sorts denials, and makes one of those that differ only in the call."""
    merged = _merged(denials)
    ours = _weighed([d for d in merged if d.matters])
    others = [d for d in merged if not d.matters]
    ours.sort(key=lambda d: (d.probe, not d.failed, -d.last))
    firm = sum(not d.probe for d in ours)
    failed = sum(d.failed and not d.probe for d in ours)
    return Report(
        denials=tuple(ours),
        likely=min(LIKELY, failed or firm or len(ours)),
        others=tuple(sorted(others, key=lambda d: -d.last)),
        total=total,
        dropped=dropped,
    )


def _weighed(denials: Sequence[Denial]) -> list[Denial]:
    """What a process asked in passing is no such thing where it failed for nothing else."""
    firm = {denial.pid for denial in denials if not denial.probe}
    return [
        msgspec.structs.replace(d, probe=False) if d.failed and d.pid not in firm else d
        for d in denials
    ]


def _merged(denials: Iterable[Denial]) -> list[Denial]:
    found: dict[tuple[Any, ...], Denial] = {}
    for denial in denials:
        what = (denial.error, denial.subject, denial.layer, denial.reason, str(denial.advice))
        key = (*what, denial.recovered, "" if denial.subject else denial.call)
        known = found.get(key)
        if known is None:
            found[key] = denial
            continue
        calls = list(dict.fromkeys([*known.call.split(", "), denial.call]))
        found[key] = msgspec.structs.replace(
            known,
            call=", ".join(calls),
            count=known.count + denial.count,
            last=max(known.last, denial.last),
            probe=known.probe and denial.probe,
            failed=known.failed or denial.failed,
        )
    return list(found.values())


def wanted(content: Report) -> list[Advice]:
    """The advice of all denials that matter: of those in passing only if there are no others."""
    firm = [d for d in content.denials if not d.probe] or list(content.denials)
    return list({str(advice): advice for d in firm for advice in d.advice}.values())


def snippet(content: Report) -> str:
    """What to add to the profile, as TOML; empty where nothing can be added."""
    advice = wanted(content)
    lists: dict[KeyPath, list[object]] = {}
    values: dict[KeyPath, object] = {}
    tables: list[Mapping[str, object]] = []
    changes: list[str] = []
    for item in advice:
        if item.remove or item.target:
            changes.append(f"# change: {item.text()}")
        elif item.key == ("mounts",) and isinstance(item.value, Mapping):
            tables.append(item.value)
        elif item.add:
            lists.setdefault(item.key, []).append(item.value)
        else:
            values[item.key] = item.value
    lines = [*changes, *_tables(lists, values)]
    for table in _united(tables):
        lines += ["", "[[mounts]]", *(f"{name} = {toml(value)}" for name, value in table.items())]
    return "\n".join(lines).strip("\n")


def _united(tables: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """One [[mounts]] for each target, with all that is asked for it."""
    found: dict[object, dict[str, object]] = {}
    for table in tables:
        found.setdefault(table.get("target"), {}).update(table)
    return list(found.values())


def _tables(lists: Mapping[KeyPath, list[object]], values: Mapping[KeyPath, object]) -> list[str]:
    sections: dict[str, list[str]] = {}
    for key, entries in lists.items():
        line = f"{key_text(key[1:])} = {toml(_gathered(entries))}"
        sections.setdefault(key_text(key[:1]), []).append(line)
    for key, value in values.items():
        line = f"{key_text(key[1:])} = {toml(value)}"
        sections.setdefault(key_text(key[:1]), []).append(line)
    lines: list[str] = []
    for name, content in sections.items():
        lines += ["", f"[{name}]", *content]
    return lines


def _gathered(entries: Sequence[object]) -> list[object]:
    """Without repetition; in place of many files of a directory the directory."""
    paths = {e for e in entries if isinstance(e, str) and e.startswith("/")}
    counts = Counter(map(os.path.dirname, paths))
    full = {path for path, count in counts.items() if path.count("/") > 2 and count >= _CROWD}
    kept: list[object] = []
    for entry in entries:
        above = os.path.dirname(entry) if isinstance(entry, str) else ""
        chosen = above if above in full else entry
        if chosen not in kept:
            kept.append(chosen)
    return [entry for entry in kept if not _is_below(entry, kept)]


def _is_below(entry: object, others: Iterable[object]) -> bool:
    return isinstance(entry, str) and any(
        isinstance(other, str) and other.startswith("/") and entry.startswith(f"{other}/")
        for other in others
    )


def as_json(content: Report, *, status: int) -> dict[str, Any]:
    """The document of `sbx run --explain --json`."""
    return {
        "status": status,
        "denials": [_json(d, number < content.likely) for number, d in enumerate(content.denials)],
        "others": [_json(d, likely=False) for d in content.others],
        "snippet": snippet(content),
        "total": content.total,
        "dropped": content.dropped,
    }


def _json(denial: Denial, likely: bool) -> dict[str, Any]:
    place = denial.origin
    return {
        "call": denial.call,
        "error": denial.error,
        "subject": _text(denial.subject),
        "layer": denial.layer.value,
        "by_sandbox": denial.by_sandbox,
        "reason": _text(denial.reason),
        "key": key_text(denial.key),
        "file": place.file if place else None,
        "line": place.line if place and place.line else None,
        "advice": [
            {
                "key": key_text(advice.key),
                "value": advice.value,
                "action": "add" if advice.add else "remove" if advice.remove else "set",
                "text": _text(advice.text()),
            }
            for advice in denial.advice
        ],
        "note": _text(denial.note),
        "likely": likely,
        "in_passing": denial.probe,
        "found_elsewhere": denial.recovered,
        "count": denial.count,
        "program": _text(denial.program),
    }


def _text(text: str) -> str:
    """JSON holds no bytes that aren't UTF-8: they appear as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
