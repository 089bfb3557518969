"""What a client was told, checked once: where, as whom, how long."""

from __future__ import annotations

import ipaddress
import json
import os
import pathlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import TypeAlias
from urllib.parse import urlsplit

import grpc

from dashgate._version import __version__

PEM: TypeAlias = "bytes | str | os.PathLike[str]"
"""PEM text as bytes, or the path of a file that holds it."""

Metadata: TypeAlias = Mapping[str, "str | bytes"]
"""Names and values that are sent with a call."""

DEFAULT_TARGET = "127.0.0.1:50051"

# The gateway gives up on DashScope earlier than this, so the limit is for a gateway that hangs.
UNARY_TIMEOUT = 600.0

# Four of the gateway's heartbeats: one may be late, four are not.
IDLE_TIMEOUT = 60.0

# The largest answer that the gateway makes. A request must be kept as long for a retry: gRPC keeps
# 256 KiB unless told otherwise, and would then not repeat a call with sound in it.
MESSAGE_LIMIT = 64 * 1024 * 1024

# The strictest servers allow a ping every 5 minutes.
KEEPALIVE_TIME_MS = 360_000
KEEPALIVE_TIMEOUT_MS = 20_000


@dataclass(frozen=True)
class TLS:
    """How to trust the server, and how to prove who we are.

    `ca`: whom to trust; left out, the system's roots. `certificate` and `key`: the client's own,
    for a server that asks for them. `server_name`: the name that the server's certificate must
    hold, if that is not the target's. Each PEM is given as bytes, or as the path of a file.
    """

    ca: PEM | None = None
    certificate: PEM | None = None
    key: PEM | None = field(default=None, repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("tls: certificate and key belong together; one of them is missing")


@dataclass(frozen=True)
class Target:
    """An address in the form that gRPC wants, and what the way to it was said to be."""

    address: str
    scheme: str


FORMS = "give host:port, http://host:port, https://host:port, dns:///host:port or unix:/path"


def parse_target(target: str) -> Target:
    """Read a target in any of its forms."""
    forms = FORMS
    for prefix in ("dns:", "ipv4:", "ipv6:"):
        if target.startswith(prefix):
            return _named(target, prefix, target.removeprefix(prefix))
    if target.startswith("unix:"):
        if len(target) == len("unix:"):
            raise ValueError(f"target {target!r} has no path; {forms}")
        return Target(target, "unix")
    scheme, separator, rest = target.partition("://")
    if not separator:
        scheme, rest = "", target
    elif scheme not in {"http", "https"}:
        raise ValueError(f"target {target!r} begins with {scheme}://; {forms}")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"target {target!r}: {error}; {forms}") from None
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"target {target!r} is more than a host and a port; {forms}")
    if port is None:
        port = {"http": 80, "https": 443}.get(scheme)
    if not host or port is None:
        raise ValueError(f"target {target!r} has no {'port' if host else 'host'}; {forms}")
    return Target(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", scheme)


def _named(target: str, prefix: str, rest: str) -> Target:
    """Read a target of gRPC's own: a name that stands for many addresses, or one address."""
    if prefix == "dns:":
        rest = rest.removeprefix("///")
    if "," in rest or "/" in rest:
        raise ValueError(
            f"target {target!r}: give one address, or dns:///host:port for many; {FORMS}"
        )
    place = parse_target(rest)
    if place.scheme:
        raise ValueError(f"target {target!r} has two schemes; {FORMS}")
    return Target(f"dns:///{place.address}", "dns") if prefix == "dns:" else place


def is_loopback(target: Target) -> bool:
    """Tell whether a target is on this machine, so that no proxy can lead there."""
    host = target.address.removeprefix("dns:///").rpartition(":")[0].strip("[]").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return target.scheme == "unix" or host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True)
class Settings:
    """All that a client was told."""

    api_key: str = field(repr=False)
    timeout: float | None
    idle_timeout: float
    metadata: Metadata = field(repr=False)

    @classmethod
    def of(
        cls,
        api_key: str | None,
        timeout: float | None,
        idle_timeout: float | None,
        metadata: Metadata | None,
    ) -> Settings:
        """Fill in what was left out."""
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is {timeout}; it must be more than 0 seconds")
        if idle_timeout is not None and not idle_timeout > 0:
            raise ValueError(f"idle_timeout is {idle_timeout}; it must be more than 0 seconds")
        if api_key is None:
            api_key = os.environ.get("DASHGATE_API_KEY", "")
        api_key = api_key.strip()
        # gRPC would refuse the call later, and would print the value.
        if not api_key.isprintable() or not api_key.isascii():
            raise ValueError("api_key has characters that cannot be sent")
        return cls(
            api_key=api_key,
            timeout=timeout,
            idle_timeout=IDLE_TIMEOUT if idle_timeout is None else idle_timeout,
            metadata=dict(metadata or {}),
        )

    def sent_metadata(self, more: Metadata | None = None) -> tuple[tuple[str, str | bytes], ...]:
        """Join the client's metadata with a call's own, which win, and say who calls."""
        both = {name.lower(): value for name, value in self.metadata.items()}
        both.update((name.lower(), value) for name, value in (more or {}).items())
        if self.api_key:
            both.setdefault("authorization", f"Bearer {self.api_key}")
        return tuple(both.items())

    def unary_timeout(self, timeout: float | None) -> float | None:
        """Choose the deadline of a call with one answer."""
        return _finite(_first(timeout, self.timeout, UNARY_TIMEOUT))

    def stream_timeout(self, timeout: float | None) -> float | None:
        """Return the deadline of a stream: none by default."""
        return _finite(_first(timeout, self.timeout))


@dataclass(frozen=True)
class Endpoint:
    """Where to connect, and how: what a channel is made from, again in each process."""

    address: str
    secure: bool
    scheme: str
    loopback: bool
    roots: bytes | None = field(repr=False)
    key: bytes | None = field(repr=False)
    certificate: bytes | None = field(repr=False)
    server_name: str

    @classmethod
    def of(cls, target: str | None, tls: TLS | None) -> Endpoint:
        """Read the target and the files now, so that a mistake is told at once."""
        where = parse_target(target or os.environ.get("DASHGATE_ADDR") or DEFAULT_TARGET)
        if tls is not None and where.scheme == "http":
            raise ValueError("tls was given, and the target begins with http://: write https://")
        secure = tls is not None or where.scheme == "https"
        tls = tls or TLS()
        return cls(
            address=where.address,
            secure=secure,
            scheme=where.scheme,
            loopback=is_loopback(where),
            roots=_pem(tls.ca) if tls.ca is not None or not secure else _system_roots(),
            key=_pem(tls.key),
            certificate=_pem(tls.certificate),
            server_name=tls.server_name,
        )

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Make gRPC's object: not earlier than the channel, because a fork would copy it."""
        if not self.secure:
            return None
        return grpc.ssl_channel_credentials(self.roots, self.key, self.certificate)

    def options(self) -> list[tuple[str, str | int]]:
        """Say to gRPC what is right for dashgate."""
        options: list[tuple[str, str | int]] = [
            ("grpc.primary_user_agent", f"dashgate-python/{__version__}"),
            ("grpc.max_receive_message_length", MESSAGE_LIMIT),
            ("grpc.max_send_message_length", -1),
            ("grpc.service_config", service_config(spread=self.scheme == "dns")),
            ("grpc.per_rpc_retry_buffer_size", MESSAGE_LIMIT),
            ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
            ("grpc.keepalive_permit_without_calls", 0),
            # A long call has no data to send, and its pings are what shows that it is alive.
            ("grpc.http2.max_pings_without_data", 0),
        ]
        if self.loopback:
            # A proxy elsewhere cannot reach this machine.
            options.append(("grpc.enable_http_proxy", 0))
        if self.scheme == "unix" and not self.server_name:
            # gRPC would send the path, and a percent sign is not allowed in the name of a host.
            options.append(("grpc.default_authority", "localhost"))
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
            options.append(("grpc.default_authority", self.server_name))
        return options


def service_config(*, spread: bool = False) -> str:
    """Give the retries that this package has, and whether calls are spread over all addresses."""
    file = resources.files("dashgate").joinpath("service_config.json")
    text = file.read_text(encoding="utf-8")
    if not spread:
        return text
    return json.dumps(json.loads(text) | {"loadBalancingConfig": [{"round_robin": {}}]})


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _finite(timeout: float | None) -> float | None:
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is {timeout}; it must be more than 0 seconds")
    return None if timeout == float("inf") else timeout


def _pem(source: PEM | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    return pathlib.Path(source).read_bytes()


def _system_roots() -> bytes | None:
    """Collect the system's roots, because gRPC for Python would take a list of its own."""
    if os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        return None
    loaded = ssl.create_default_context().get_ca_certs(binary_form=True)
    if loaded:
        return "".join(map(ssl.DER_cert_to_PEM_cert, loaded)).encode()
    # OpenSSL reads a folder of certificates only when one is asked for.
    folder = ssl.get_default_verify_paths().capath
    files = sorted(pathlib.Path(folder).glob("*.[0-9]")) if folder else []
    # Nothing at all: gRPC's own list is better than no trust.
    return b"\n".join(file.read_bytes() for file in files) or None
