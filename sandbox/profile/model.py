"""The profile as typed tables: one struct for each table of the TOML, field by field.

The descriptions feed the JSON Schema, and so what an editor shows. What a type can't say (paths
without `..`, tables that need each other) is checked in `validate`.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from sandbox.profile.files import (
    Devices,
    Filesystem,
    Generated,
    Landlock,
    Mount,
    Rootfs,
    Scope,
    Tmpfs,
)
from sandbox.profile.payload import (
    Argument,
    Capabilities,
    Environment,
    Identity,
    Namespaces,
    Network,
    Process,
    Rlimits,
    Seccomp,
    SeccompRule,
)
from sandbox.profile.resources import IoMax, Resources
from sandbox.profile.service import Health, Secret, Secrets, Service
from sandbox.profile.values import MAX_ID, Account, Extended, Limit, Seal, Table, VariableName

__all__ = [
    "MAX_ID",
    "SCHEMA_VERSION",
    "About",
    "Account",
    "Argument",
    "Capabilities",
    "Devices",
    "Environment",
    "Feature",
    "Filesystem",
    "Generated",
    "Health",
    "Identity",
    "IoMax",
    "Landlock",
    "Limit",
    "Mount",
    "Namespaces",
    "Network",
    "Process",
    "Profile",
    "Resources",
    "Rlimits",
    "Rootfs",
    "Scope",
    "Seccomp",
    "SeccompRule",
    "Secret",
    "Service",
    "Table",
    "Tmpfs",
]

SCHEMA_VERSION = 1

Feature: TypeAlias = Literal[
    "landlock",
    "landlock.scopes",
    "namespaces.time",
    "namespaces.cgroup",
    "namespaces.limit",
    "mounts.idmap",
    "seccomp.log",
    "resources.memory_high",
    "resources.io_weight",
]


class About(Table, frozen=True, kw_only=True):
    """[profile]: what this file is, and what it builds on."""

    name: Annotated[
        str, Meta(description="Name of the profile; the file's own name if left out.")
    ] = ""
    description: Annotated[str, Meta(description="What the profile is for, in a sentence.")] = ""
    extends: Annotated[
        Extended | tuple[Extended, ...],
        Meta(
            description="Profiles that this one builds on: the name of a shipped profile, or a "
            "path relative to this file that holds a '/' or ends in '.toml'. "
            "The order of several doesn't matter."
        ),
    ] = ()
    sealed: Annotated[
        tuple[Seal, ...],
        Meta(
            description="Tables or keys that a derived profile may only narrow.",
            examples=[["filesystem", "mounts", "network.mode"]],
        ),
    ] = ()
    optional: Annotated[
        tuple[Feature, ...],
        Meta(
            description="Features that may go unenforced on a host that lacks them. "
            "Anything else that is lacking is an error."
        ),
    ] = ()


class Profile(Table, frozen=True, kw_only=True):
    """A profile of sbx: what a program may do. One TOML file, with those it extends."""

    schema: Annotated[
        Literal[1], Meta(description="Version of this format; 1 is the only one so far.")
    ]
    profile: Annotated[About, Meta(description="What this file is, and what it builds on.")] = (
        msgspec.field(default_factory=About)
    )
    vars: Annotated[
        dict[VariableName, str],
        Meta(
            description="Texts that stand in any string as ${name}. Built in: ${env:NAME}, "
            "${env:NAME:-default}, ${home}, ${cwd}, ${profile_dir}, ${up:NAME} (the nearest "
            "directory upward that holds NAME); $$ is a plain $."
        ),
    ] = msgspec.field(default_factory=dict)
    process: Annotated[Process, Meta(description="The payload and how it meets its caller.")] = (
        msgspec.field(default_factory=Process)
    )
    environment: Annotated[
        Environment, Meta(description="The payload's variables; all others are cleared.")
    ] = msgspec.field(default_factory=Environment)
    identity: Annotated[Identity, Meta(description="Who the payload is, inside and outside.")] = (
        msgspec.field(default_factory=Identity)
    )
    namespaces: Annotated[
        Namespaces, Meta(description="What the payload has apart from the host.")
    ] = msgspec.field(default_factory=Namespaces)
    rootfs: Annotated[
        Rootfs, Meta(description="The tree that the payload's root is assembled from.")
    ] = msgspec.field(default_factory=Rootfs)
    filesystem: Annotated[
        Filesystem,
        Meta(
            description="What the payload may do with which paths. The most specific path wins; "
            "between equals deny wins; order never matters."
        ),
    ] = msgspec.field(default_factory=Filesystem)
    mounts: Annotated[
        tuple[Mount, ...], Meta(description="Things mounted at a path of their own.")
    ] = ()
    landlock: Annotated[Landlock, Meta(description="The second layer below the file rules.")] = (
        msgspec.field(default_factory=Landlock)
    )
    capabilities: Annotated[Capabilities, Meta(description="Privileges kept; none by default.")] = (
        msgspec.field(default_factory=Capabilities)
    )
    seccomp: Annotated[Seccomp, Meta(description="System calls that the kernel answers.")] = (
        msgspec.field(default_factory=Seccomp)
    )
    devices: Annotated[Devices, Meta(description="What is in /dev.")] = msgspec.field(
        default_factory=Devices
    )
    network: Annotated[Network, Meta(description="What the payload can reach.")] = msgspec.field(
        default_factory=Network
    )
    rlimits: Annotated[
        Rlimits, Meta(description="Limits of setrlimit(2); what is left out is inherited.")
    ] = msgspec.field(default_factory=Rlimits)
    service: Annotated[
        Service, Meta(description="How the payload is started, watched and ended as a service.")
    ] = msgspec.field(default_factory=Service)
    secrets: Annotated[
        Secrets,
        Meta(
            description="Files of a private tmpfs, /run/secrets/NAME, that the payload alone may "
            "read; never in its environment."
        ),
    ] = msgspec.field(default_factory=dict)
    resources: Annotated[
        Resources,
        Meta(description="Limits of the sandbox as a whole, held by a control group of its own."),
    ] = msgspec.field(default_factory=Resources)
