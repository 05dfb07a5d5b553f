"""From the text of a profile to a validated, merged, typed one."""
