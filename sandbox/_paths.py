"""Where sbx's own files lie, for an installed wheel and for an editable install."""

import os


def profiles_dir() -> str:
    """The directory of the shipped profiles: package data of a wheel, else of the source tree."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "_profiles")
    if os.path.isdir(installed):
        return installed
    return os.path.join(os.path.dirname(package), "profiles")
