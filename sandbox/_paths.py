"""Places that every part needs: sbx's own files, and where it was started."""

import os


def profiles_dir() -> str:
    """The directory of the shipped profiles: package data of a wheel, else of the source tree."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "_profiles")
    if os.path.isdir(installed):
        return installed
    return os.path.join(os.path.dirname(package), "profiles")


def working_directory() -> str:
    """The working directory; empty where it was removed or lies outside of the root."""
    try:
        path = os.getcwd()
    except OSError:
        return ""
    return path if path.startswith("/") else ""
