"""Profiles as services of systemd: the text of units, where they lie, and the manager's own tools."""
