"""What the units, the template and those who look for them agree on; a build imports it too."""

from typing import Final

MARK: Final = "# Written by sbx systemd"
"""How the first line of every unit starts that sbx has written."""
OLDEST: Final = 247
"""The first systemd with all that a unit needs (LoadCredential=)."""
NEWEST: Final = 257
"""The newest systemd that units were tried with."""
SUBGROUP: Final = "supervisor"
SUBGROUPS: Final = 254
"""The first systemd with DelegateSubgroup=."""
EXEC_PID: Final = 248
"""The first systemd that says which process it has started (SYSTEMD_EXEC_PID), so that sbx knows
that its word is waited for."""
