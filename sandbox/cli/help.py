"""What the help shows beside verbs and options: their groups, and examples that can be typed."""

from typing import NamedTuple

import click


class Example(NamedTuple):
    """A line to type, and what it does."""

    line: str
    what: str


START = (
    Example("sbx init -- ./app.py", "write a first profile for a program"),
    Example("sbx run --profile app.toml", "run it in its sandbox"),
    Example("sbx doctor", "see what this host can enforce"),
)

SECTIONS = {
    "Run": ("run", "exec"),
    "Write profiles": ("init", "check", "profiles", "schema"),
    "Understand them": ("show", "plan"),
    "Look after what runs": (
        "ps",
        "inspect",
        "verify",
        "stats",
        "top",
        "logs",
        "events",
        "stop",
        "kill",
        "wait",
        "pause",
        "resume",
        "adopt",
        "gc",
    ),
    "Set up": ("doctor", "systemd", "completion"),
}

EXAMPLES = {
    "adopt": (Example("sbx adopt web", "look after 'web', whose supervisor was killed"),),
    "exec": (
        Example("sbx exec web -- ps ax", "what runs in the sandbox 'web'"),
        Example("sbx exec web sh", "a shell in it"),
        Example("sbx exec -e LANG=C web -- sort < list", "with a variable more, and input"),
    ),
    "events": (
        Example("sbx events", "what has befallen sandboxes"),
        Example("sbx events -f web", "what befalls 'web', as it comes"),
        Example("sbx events --since 1h", "of the last hour"),
        Example("sbx events -f --json", "everything, for a program"),
    ),
    "logs": (
        Example("sbx logs web", "all that is kept of what the service 'web' has written"),
        Example("sbx logs -f -n 20 web", "the newest 20 lines, and what comes"),
        Example("sbx logs --since 10min web", "the last ten minutes"),
    ),
    "run": (
        Example("sbx run --profile app.toml", "the profile's own command"),
        Example("sbx run -p app.toml -- ls -l", "another one in the same sandbox"),
        Example("sbx run -p interactive", "a shell with an empty home and no network"),
        Example("sbx run -d --name web -p app.toml", "in the background, until 'sbx stop web'"),
        Example("sbx run -p app.toml --explain", "what was refused, why, and what would allow it"),
        Example("sbx run -p app.toml --timing -- true", "where a launch spends its time"),
    ),
    "init": (
        Example("sbx init", "asks for everything"),
        Example("sbx init -w result -- sort input.txt -o result/sorted.txt", "asks for the rest"),
        Example("sbx init --yes --network host -- curl https://example.org/", "asks nothing"),
        Example("sbx init -o - -- python3 -m json.tool input.txt", "prints the profile"),
    ),
    "check": (
        Example("sbx check app.toml", "one profile, with all that it extends"),
        Example("sbx check --json *.toml", "several, for a machine"),
    ),
    "profiles": (
        Example("sbx profiles", "what there is to start from"),
        Example("sbx profiles --json", "the same for a machine"),
    ),
    "show": (
        Example("sbx show app.toml", "one profile that says by itself what this one says"),
        Example("sbx show --resolved app.toml", "each rule with the line that it comes from"),
        Example("sbx show --key filesystem minimal", "those of one table"),
    ),
    "plan": (
        Example("sbx plan app.toml", "what a launch does, step by step"),
        Example("sbx plan minimal -- ls /", "the same for another command"),
        Example("sbx plan --json app.toml", "for a machine"),
    ),
    "ps": (
        Example("sbx ps", "what runs"),
        Example("sbx ps --quiet", "names alone, for scripts"),
        Example("sbx ps --json", "for a machine"),
    ),
    "inspect": (
        Example("sbx inspect web", "ids, namespaces, cgroups, and what is enforced"),
        Example("sbx inspect --json web", "for a machine"),
    ),
    "verify": (
        Example("sbx verify web", "status 1 and a table where it isn't as its plan promised"),
        Example("sbx verify --json web", "for a machine"),
    ),
    "stop": (
        Example("sbx stop web", "as the profile says, by default SIGTERM and 10 seconds"),
        Example("sbx stop --timeout 1min web db", "two at once, with patience"),
        Example("sbx stop --all", "all of yours"),
    ),
    "kill": (
        Example("sbx kill web", "at once, with all that is in it"),
        Example("sbx kill --signal HUP web", "another signal to its command"),
    ),
    "wait": (
        Example("sbx wait job", "ends with the status of the sandbox's command"),
        Example("sbx wait --timeout 5min --json job", "how it ended, for a machine"),
    ),
    "pause": (Example("sbx pause web", "it gets no processor time any more"),),
    "stats": (
        Example("sbx stats", "of all of yours; on a terminal it goes on"),
        Example("sbx stats --no-stream --json web", "once, for a machine"),
    ),
    "top": (Example("sbx top", "sorted by processor; s sorts by something else"),),
    "gc": (
        Example("sbx gc --dry-run", "what there is to remove after a crash"),
        Example("sbx gc", "removes it"),
    ),
    "resume": (Example("sbx resume web", "it goes on"),),
    "doctor": (
        Example("sbx doctor", "a table, and the commands that mend what fails"),
        Example("sbx doctor --json", "for a machine"),
        Example("sbx doctor --apparmor-profile", "for /etc/apparmor.d/sbx, on Ubuntu"),
    ),
    "systemd": (
        Example("sbx systemd unit app.toml", "the unit, to look at"),
        Example("sbx systemd install app.toml --enable --now", "as root: a service of the system"),
        Example("sbx systemd install --user app.toml --now", "one of your own"),
        Example("sbx systemd install nginx --name web --set port=80", "from a shipped profile"),
        Example("sbx systemd remove web", "stop it and take its unit away"),
    ),
    "schema": (Example("sbx schema > sbx.schema.json", "for an editor beside the profiles"),),
    "completion": (
        Example("""eval "$(sbx completion bash)\"""", "bash, in ~/.bashrc"),
        Example("sbx completion fish | source", "fish, in ~/.config/fish/config.fish"),
        Example('eval "$(sbx completion zsh)"', "zsh, in ~/.zshrc behind compinit"),
    ),
}


class Verb(click.Command):
    """A command whose help ends with its examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, "Examples", EXAMPLES.get(ctx.info_name or "", ()))
        super().format_epilog(ctx, formatter)


class VerbGroup(click.Group):
    """A verb with verbs of its own; its help ends with examples of all of them."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, "Examples", EXAMPLES.get(ctx.info_name or "", ()))
        super().format_epilog(ctx, formatter)


def write_examples(
    formatter: click.HelpFormatter, title: str, examples: tuple[Example, ...]
) -> None:
    """Lines to type with what they do behind them; none is broken, so that all can be copied."""
    width = max((len(example.line) for example in examples), default=0)
    if examples:
        with formatter.section(title):
            for line, what in examples:
                formatter.write(f"{'':{formatter.current_indent}}{line:<{width}}  # {what}\n")
