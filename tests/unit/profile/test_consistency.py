"""Statements that are each well formed and don't go together."""

import pytest

from tests.unit.profile.conftest import Problems, Write

MOUNT = "[[mounts]]\ntype = '{}'\ntarget = '/m'\n{}"
RULE = "[[seccomp.rules]]\ncall = 'ioctl'\naction = 'deny'\nargs = [{{index = 1, {}}}]"


@pytest.mark.parametrize(
    ("text", "key", "words"),
    (
        ("[rootfs]\ntype = 'directory'", "rootfs.type", "needs rootfs.path"),
        ("[rootfs]\npath = '/x'", "rootfs.path", "a root of type 'host' has no path"),
        ("[namespaces]\nuser = false\n[identity]\nmap = 'root'", "identity.map", "needs a user"),
        ("[filesystem]\nread = ['/t']\ntmpfs = ['/t']", "filesystem.read[0]", "'/t' is taken by"),
        (
            "[filesystem]\nwrite = ['/t']\ntmpfs = ['/t']",
            "filesystem.write[0]",
            "filesystem.tmpfs[0]",
        ),
        ("[filesystem]\nread = ['/proc']", "filesystem.read[0]", "filesystem.proc (the default)"),
        ("[filesystem]\ntmpfs = ['/dev']", "filesystem.tmpfs[0]", "devices.dev (the default)"),
        ("[filesystem]\ntmpfs = ['/']", "filesystem.tmpfs[0]", "mounted on '/'"),
        ("[[mounts]]\ntype = 'tmpfs'\ntarget = '/'", "mounts[0]", "mounted on '/'"),
        (
            "[filesystem]\nread = ['/m']\n" + MOUNT.format("tmpfs", ""),
            "filesystem.read[0]",
            "'/m' is taken by mounts[0] (app.toml:4)",
        ),
        (
            "[filesystem]\ntmpfs = ['/m']\n" + MOUNT.format("tmpfs", ""),
            "mounts[0]",
            "'/m' is taken by filesystem.tmpfs[0] (app.toml:3)",
        ),
        (
            "[process]\ncwd = '/h'\n[filesystem]\nread = ['/h']\ndeny = ['/h']",
            "process.cwd",
            "'/h' is denied by filesystem.deny[0] (app.toml:6: '/h')",
        ),
        (
            "[process]\ncwd = '/h/a'\n[filesystem]\nread = ['/h/ab']\ndeny = ['/', '/h']",
            "process.cwd",
            "'/h/a' is denied by filesystem.deny[1] (app.toml:6: '/h')",
        ),
        (MOUNT.format("bind", ""), "mounts[0]", "needs a 'source'"),
        (MOUNT.format("tmpfs", "source = '/x'"), "mounts[0].source", "is for the type 'bind'"),
        (MOUNT.format("tmpfs", "recursive = false"), "mounts[0].recursive", "for the type 'bind'"),
        (
            MOUNT.format("bind", "source = '/x'\nsize = 1"),
            "mounts[0].size",
            "'tmpfs' and 'overlay'",
        ),
        (MOUNT.format("overlay", ""), "mounts[0]", "needs 'lower'"),
        (MOUNT.format("file", ""), "mounts[0]", "needs 'content'"),
        (MOUNT.format("tmpfs", "content = ''"), "mounts[0].content", "is for the type 'file'"),
        (
            MOUNT.format("file", "content = ''\nwritable = true"),
            "mounts[0].writable",
            "isn't for the type 'file'",
        ),
        (
            MOUNT.format("overlay", "lower = ['/l']\nupper = '/u'"),
            "mounts[0].upper",
            "isn't writable",
        ),
        (
            MOUNT.format("overlay", "lower = ['/l']\nupper = '/u'\nwritable = true\nsize = 1"),
            "mounts[0].size",
            "no 'size' of its own",
        ),
        (RULE.format("op = 'eq'"), "seccomp.rules[0].args[0]", "needs 'value' and no 'values'"),
        (RULE.format("op = 'in', value = 1"), "seccomp.rules[0].args[0]", "needs 'values'"),
        (RULE.format("op = 'in', values = []"), "seccomp.rules[0].args[0]", "needs 'values'"),
        (
            RULE.format("op = 'eq', value = 1, mask = 1"),
            "seccomp.rules[0].args[0]",
            "need each other",
        ),
        (RULE.format("op = 'masked-eq', value = 1"), "seccomp.rules[0].args[0]", "need each other"),
    ),
)
def test_what_does_not_go_together_is_an_error(
    problems: Problems, text: str, key: str, words: str
) -> None:
    (problem,) = problems(text)
    assert problem.key == key
    assert words in problem.reason
    assert problem.line


@pytest.mark.parametrize(
    "text",
    (
        "[rootfs]\ntype = 'directory'\npath = '/x'",
        "[namespaces]\nuser = false\n[identity]\nmap = 'host'",
        "[filesystem]\nread = ['/t']\ntmpfs = ['/t/u']",
        "[filesystem]\nread = ['/x']\ndeny = ['/x']",
        "[filesystem]\ntmpfs = ['/t']\ndeny = ['/t']",
        "[process]\ncwd = '/h/a'\n[filesystem]\nread = ['/h/a']\ndeny = ['/h', '/h/ab']",
        "[process]\ncwd = '/m/a'\n[filesystem]\ndeny = ['/']\n" + MOUNT.format("tmpfs", ""),
        "[filesystem]\nread = ['/proc']\nproc = 'none'",
        "[filesystem]\nread = ['/']\nwrite = ['/srv']\nexecute = ['/srv']",
        "[filesystem]\nread = ['/dev']\n[devices]\ndev = 'none'",
        MOUNT.format("overlay", "lower = ['/l', '/k']\nupper = '/u'\nwritable = true"),
        MOUNT.format("overlay", "lower = ['/l']\nsize = '1M'\nwritable = true"),
        RULE.format("op = 'masked-eq', value = 0, mask = 7, width = 32"),
        RULE.format("op = 'in', values = [1, 2]"),
    ),
)
def test_what_goes_together_is_none(problems: Problems, text: str) -> None:
    assert problems(text) == ()


def test_files_can_contradict_each_other_too(write: Write, problems: Problems) -> None:
    write("[filesystem]\ntmpfs = ['/t']", "base")
    (problem,) = problems("[profile]\nextends = 'base.toml'\n[filesystem]\nwrite = ['/t']")
    assert problem.text() == (
        "app.toml:5: filesystem.write[0]: '/t' is taken by filesystem.tmpfs[0] (base.toml:3)"
    )
