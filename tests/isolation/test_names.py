"""Names of sandboxes that are paths: none leads a verb to what it isn't the name of."""

import os

import pytest

from sandbox.live import records
from tests.kernel.harness import Sandbox
from tests.kernel.live import named, sbx


@pytest.mark.parametrize("verb", ("stop", "kill", "inspect", "exec"))
def test_a_name_leads_no_verb_elsewhere(by_command: Sandbox, verb: str) -> None:
    """Each leads to the directory of a live sandbox, of the same caller's in another place."""
    sandbox = by_command
    above = sandbox.mkdir("run", 0o700)
    sandbox.runtime = sandbox.mkdir("run/one", 0o700)
    with named(sandbox, "it"):
        below = sandbox.mkdir("run/one/it/below", 0o700)
        it = os.path.join(sandbox.runtime, "it")
        ways = {
            "one/it": above,
            "../one/it": sandbox.runtime,
            ".": it,
            "..": below,
            "it/below/..": sandbox.runtime,
        }
        for name, place in ways.items():
            more = ["--", "/bin/true"] if verb == "exec" else []
            environment = {**sandbox.environment, "SBX_RUNTIME_DIR": place}
            done = sbx(sandbox, verb, name, *more, env=environment)
            assert done.returncode not in (0, 126, 127), done
            # The control: what reads records and doesn't look at names finds it there.
            found = records.read(place, name)
            assert found is not None
            assert found.state == "running"
        # And by its own name the verbs find it.
        assert sbx(sandbox, "inspect", "it").returncode == 0
        os.rmdir(below)
