"""sbx: a profile becomes a sandboxed process.

    from sandbox import Profile, Sandbox

    box = Sandbox(Profile.load("app.toml"))
    result = box.run(["sort", "input.txt"], timeout=5)

The names are imported when they are first used: the command line pays for none of them.
"""

__version__ = "0.1.0"

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AsyncProcess",
    "Cause",
    "ExitError",
    "NotEnforcedWarning",
    "Pool",
    "Process",
    "Profile",
    "ProfileError",
    "Result",
    "Sandbox",
    "SandboxError",
    "SetupError",
    "UnsupportedError",
    "Usage",
    "__version__",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.errors import ProfileError as ProfileError
    from sandbox.errors import SandboxError as SandboxError
    from sandbox.errors import SetupError as SetupError
    from sandbox.errors import UnsupportedError as UnsupportedError
    from sandbox.library.aio import AsyncProcess as AsyncProcess
    from sandbox.library.launching import NotEnforcedWarning as NotEnforcedWarning
    from sandbox.library.pool import Pool as Pool
    from sandbox.library.profile import Profile as Profile
    from sandbox.library.result import Cause as Cause
    from sandbox.library.result import ExitError as ExitError
    from sandbox.library.result import Result as Result
    from sandbox.library.running import Process as Process
    from sandbox.library.sandbox import Sandbox as Sandbox
    from sandbox.library.streams import DEVNULL as DEVNULL
    from sandbox.library.streams import PIPE as PIPE
    from sandbox.library.streams import STDOUT as STDOUT
    from sandbox.process.server import Usage as Usage

_MODULES = {
    "sandbox.errors": ("ProfileError", "SandboxError", "SetupError", "UnsupportedError"),
    "sandbox.library.aio": ("AsyncProcess",),
    "sandbox.library.launching": ("NotEnforcedWarning",),
    "sandbox.library.pool": ("Pool",),
    "sandbox.library.profile": ("Profile",),
    "sandbox.library.result": ("Cause", "ExitError", "Result"),
    "sandbox.library.running": ("Process",),
    "sandbox.library.sandbox": ("Sandbox",),
    "sandbox.library.streams": ("DEVNULL", "PIPE", "STDOUT"),
    "sandbox.process.server": ("Usage",),
}


if not TYPE_CHECKING:  # type checkers know the names above, and only these

    def __getattr__(name: str) -> object:
        for module, names in _MODULES.items():
            if name in names:
                import importlib

                value = globals()[name] = getattr(importlib.import_module(module), name)
                return value
        raise AttributeError(f"module 'sandbox' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
