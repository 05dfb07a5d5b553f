"""sbx: a profile becomes a sandboxed process."""

__version__ = "0.1.0"
