"""Places that every part needs: sbx's own files, and where it was started."""

import os
from collections.abc import Mapping

CACHE_OF_ROOT = "/var/cache/sbx"


def profiles_dir() -> str:
    """The directory of the shipped profiles: package data of a wheel, else of the source tree."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "_profiles")
    if os.path.isdir(installed):
        return installed
    return os.path.join(os.path.dirname(package), "profiles")


def launcher_path() -> str:
    """The native program: the one that started this process, else the one beside Python's scripts."""
    import sysconfig

    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    places = [os.path.join(sysconfig.get_path("scripts", scheme), "sbx") for scheme in schemes]
    found = next((place for place in places if os.access(place, os.X_OK)), places[0])
    return os.environ.get("SBX_LAUNCHER") or found


def working_directory() -> str:
    """The working directory; empty where it was removed or lies outside of the root."""
    try:
        path = os.getcwd()
    except OSError:
        return ""
    return path if path.startswith("/") else ""


def cache_dir(environ: Mapping[str, str], uid: int) -> str | None:
    """Where the plans of this user lie; None where nothing says which directory that is."""
    if uid == 0:
        return CACHE_OF_ROOT
    base = environ.get("XDG_CACHE_HOME", "")
    if base.startswith("/"):
        return f"{base}/sbx"
    home = environ.get("HOME", "")
    return f"{home}/.cache/sbx" if home.startswith("/") else None
