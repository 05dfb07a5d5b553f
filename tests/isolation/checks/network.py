"""The network: addresses, families of sockets, local sockets."""

import platform

from tests.isolation.check import OUTSIDE_AS_ROOT, Attempt, Check, Control, attempt
from tests.isolation.checks.calls import UNFILTERED

HOST = '[network]\nmode = "host"'
ON_THE_HOST = Control(how=HOST)
_UNSCOPED = '[landlock]\nscopes = ["signal"]'
_PRIVILEGED = Control(how='[capabilities]\nkeep = ["CAP_NET_ADMIN"]\nambient = true')


def _lacking(option: str, outcome: str) -> Control:
    return Control(how=UNFILTERED.how, lacking=(outcome, f"this kernel was built without {option}"))


_NO_TRANSPORT = Control(
    how=UNFILTERED.how,
    lacking=("ENODEV", "nothing carries datagrams of vsock on this machine"),
    never="only VMware's machines carry them",
)


def _by_the_32_bit_entry() -> tuple[Attempt, ...]:
    if platform.machine() != "x86_64":
        return ()
    return (
        attempt("socketcall 40 1", "SIGSYS", UNFILTERED),
        attempt("socketcall 38 5", "SIGSYS", _lacking("AF_ALG", "EAFNOSUPPORT")),
    )


CHECKS = (
    Check(
        number=43,
        title="The host's network",
        weakness="servers that trust whoever reaches the loopback",
        attempts=(
            attempt("tcp 127.0.0.1 {port}", "ECONNREFUSED", ON_THE_HOST),
            attempt("tcp ::1 {port}", "ECONNREFUSED", ON_THE_HOST),
            attempt("interfaces", "ENODATA", ON_THE_HOST),
            # Every family and type, also with bits above those that the kernel reads.
            attempt("odd-sockets 0", "EPERM", UNFILTERED),
            attempt("odd-sockets 1", "EPERM", UNFILTERED),
            attempt("odd-sockets 0x80000000", "EPERM", UNFILTERED),
            attempt("add-address 127.0.0.77", "EPERM", _PRIVILEGED),
        ),
        tests=(
            "tests/kernel/test_network.py::test_without_a_network_there_is_a_loopback_and_nothing_else",
            "tests/kernel/test_namespaces.py::test_a_server_on_the_hosts_loopback_is_out_of_reach",
        ),
    ),
    Check(
        number=44,
        title="Sockets into the machine below, and into the kernel",
        weakness="the kernel's code behind vsock, AF_ALG, packet sockets and netlink",
        cves=(
            "CVE-2016-8655",
            "CVE-2025-21756",
            "CVE-2026-31431",
        ),
        attempts=(
            attempt("socket 40 1 0", "EPERM", UNFILTERED),
            attempt("socket 40 2 0", "EPERM", _NO_TRANSPORT),
            attempt("socket 38 5 0", "EPERM", _lacking("AF_ALG", "EAFNOSUPPORT")),
            attempt("socket 17 3 0", "EPERM", OUTSIDE_AS_ROOT),
            attempt("socket 2 10 0", "EPERM", OUTSIDE_AS_ROOT),
            attempt("socket 2 3 1", "EPERM", OUTSIDE_AS_ROOT),
            # netfilter, audit, events of devices, cryptography
            *(attempt(f"socket 16 3 {kind}", "EPERM", UNFILTERED) for kind in (12, 15)),
            attempt("socket 16 3 9", "EPERM", _lacking("CONFIG_AUDIT", "EPROTONOSUPPORT")),
            attempt("socket 16 3 21", "EPERM", _lacking("CONFIG_CRYPTO_USER", "EPROTONOSUPPORT")),
            # SCTP, DCCP
            attempt("socket 2 1 132", "EPERM", _lacking("CONFIG_IP_SCTP", "EPROTONOSUPPORT")),
            attempt("socket 2 6 33", "EPERM", _lacking("CONFIG_IP_DCCP", "ESOCKTNOSUPPORT")),
            *_by_the_32_bit_entry(),
        ),
        tests=(
            "tests/kernel/test_filter.py::test_refused_families_get_the_filters_error_whatever_the_high_half",
            "tests/kernel/test_filter.py::test_comparing_all_64_bits_would_let_a_high_bit_through",
        ),
    ),
    Check(
        number=45,
        title="The host's local sockets",
        weakness="abstract sockets with the host's network; engines' and buses' sockets",
        cves=("CVE-2020-15257",),
        attempts=(
            *(
                attempt(
                    f"local {{abstract}}-{kind} {kind}",
                    "ECONNREFUSED",
                    Control(how=f"{HOST}\n{_UNSCOPED}"),
                )
                for kind in ("stream", "dgram")
            ),
            *(
                attempt(
                    f"local {{abstract}}-{kind} {kind}",
                    "EPERM",
                    Control(how=_UNSCOPED),
                    profile=HOST,
                )
                for kind in ("stream", "dgram")
            ),
            *(
                attempt(
                    f"local {{sockets}}/{kind} {kind}",
                    "ENOENT",
                    Control(how='[filesystem]\nread = ["{sockets}"]'),
                    profile=profile,
                )
                for kind in ("stream", "dgram")
                for profile in ("", HOST)
            ),
        ),
        tests=(
            "tests/kernel/test_namespaces.py::test_landlock_keeps_abstract_sockets_away_on_the_hosts_network",
        ),
    ),
    Check(
        number=46,
        title="Other ways to the same address",
        weakness="a policy for TCP over IPv4 that forgets UDP, IPv6, or an address within another",
        attempts=(
            attempt("udp 127.0.0.1 {port}", "ECONNREFUSED", ON_THE_HOST),
            attempt("udp ::1 {port}", "ECONNREFUSED", ON_THE_HOST),
            attempt("tcp ::ffff:127.0.0.1 {port}", "ECONNREFUSED", ON_THE_HOST),
            attempt("udp ::ffff:127.0.0.1 {port}", "ECONNREFUSED", ON_THE_HOST),
        ),
        tests=(
            "tests/kernel/test_network.py::test_a_clouds_metadata_is_out_of_reach",
            "tests/unit/profile/test_validate.py::test_what_this_version_cannot_enforce_is_an_error_and_not_ignored",
        ),
    ),
)
