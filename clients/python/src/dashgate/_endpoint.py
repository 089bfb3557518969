"""The address of a gateway, and the settings of its channels."""

from __future__ import annotations

import ipaddress
import json
import os
import pathlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import grpc

from dashgate._types import wrong_type
from dashgate._version import __version__

PEM: TypeAlias = bytes | str | os.PathLike[str]
"""PEM as bytes, or the path of a PEM file."""

ChannelOptions: TypeAlias = Sequence[tuple[str, Any]]
"""The names and values of gRPC's options of a channel."""

_Channel = TypeVar("_Channel")

DEFAULT_PORT = 50051
DEFAULT_TARGET = f"127.0.0.1:{DEFAULT_PORT}"

# The largest response of the gateway. Requests are kept for retries up to the same size: gRPC's
# default of 256 KiB would exclude requests with audio.
MESSAGE_LIMIT = 64 * 1024 * 1024

# The strictest servers allow one ping in 5 minutes.
KEEPALIVE_TIME_MS = 360_000
KEEPALIVE_TIMEOUT_MS = 20_000
FIRST_RECONNECT_DELAY_MS = 500
LONGEST_RECONNECT_DELAY_MS = 5_000

# Without an id, a second attempt would make a second conversation. With one, this library retries.
_NOT_RETRIED = [
    {"service": "dashgate.v1.ConversationService", "method": method}
    for method in ("CreateConversation", "ForkConversation")
]


@dataclass(frozen=True)
class TLS:
    """TLS settings. Each PEM is bytes or the path of a file."""

    ca: PEM | None = None
    """The root certificates; default: the system's."""
    certificate: PEM | None = None
    """The client certificate, for mutual TLS."""
    key: PEM | None = field(default=None, repr=False)
    """The key of the client certificate."""
    server_name: str = ""
    """The name to verify in the server's certificate; default: the target's host."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("tls: certificate and key belong together; one of them is missing")


@dataclass(frozen=True)
class Target:
    """An address in the form that gRPC requires, with its scheme."""

    address: str
    scheme: str


FORMS = "give host, host:port, http://host:port, https://host:port, dns:///host:port or unix:/path"


def parse_target(target: str) -> Target:
    """Parse a target."""
    for prefix in ("dns:", "ipv4:", "ipv6:"):
        if target.startswith(prefix):
            return _named(target, prefix, target.removeprefix(prefix))
    if target.startswith("unix:"):
        if len(target) == len("unix:"):
            raise ValueError(f"target {target!r} has no path; {FORMS}")
        return Target(target, "unix")
    scheme, separator, rest = target.partition("://")
    if not separator:
        scheme, rest = "", target
    elif scheme not in {"http", "https"}:
        raise ValueError(f"target {target!r} begins with {scheme}://; {FORMS}")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"target {target!r}: {error}; {FORMS}") from None
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"target {target!r} is more than a host and a port; {FORMS}")
    if not host:
        raise ValueError(f"target {target!r} has no host; {FORMS}")
    if port is None:
        port = 443 if scheme == "https" else DEFAULT_PORT
    return Target(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", scheme)


def _named(target: str, prefix: str, rest: str) -> Target:
    """Parse a target in gRPC's own syntax: a name that resolves to addresses, or one address."""
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
    """Return whether a target is on this machine, where no proxy is used."""
    host = target.address.removeprefix("dns:///").rpartition(":")[0].strip("[]").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return target.scheme == "unix" or host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True)
class Endpoint:
    """The address and the channel settings. Each process creates its own channel from them."""

    address: str
    secure: bool
    scheme: str
    loopback: bool
    roots: bytes | None = field(repr=False)
    key: bytes | None = field(repr=False)
    certificate: bytes | None = field(repr=False)
    server_name: str
    more: ChannelOptions = ()

    @classmethod
    def of(cls, target: str | None, tls: TLS | None, more: ChannelOptions = ()) -> Endpoint:
        """Parse the target and read the files, so that errors are raised early.

        `more` are options of the channel, which replace single ones of those below.
        """
        if not isinstance(target, (str, type(None))):
            raise wrong_type("target", target, "a str")
        if not isinstance(tls, (TLS, type(None))):
            raise wrong_type("tls", tls, "a dashgate.TLS")
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
            more=tuple(more),
        )

    def dial(self, insecure: Callable[..., _Channel], secure: Callable[..., _Channel]) -> _Channel:
        """Create a channel, with gRPC's functions for synchronous or asynchronous ones."""
        credentials = self.credentials()
        if credentials is None:
            return insecure(self.address, self.options())
        return secure(self.address, credentials, self.options())

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return gRPC's credentials. Created with the channel, because a fork would copy them."""
        if not self.secure:
            return None
        return grpc.ssl_channel_credentials(self.roots, self.key, self.certificate)

    def options(self) -> list[tuple[str, Any]]:
        """Return the options of the channel."""
        options: list[tuple[str, Any]] = [
            ("grpc.primary_user_agent", f"dashgate-python/{__version__}"),
            ("grpc.max_receive_message_length", MESSAGE_LIMIT),
            ("grpc.max_send_message_length", -1),
            ("grpc.service_config", service_config(spread=self.scheme == "dns")),
            ("grpc.per_rpc_retry_buffer_size", MESSAGE_LIMIT),
            ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
            ("grpc.keepalive_permit_without_calls", 0),
            # A long call sends no data; only pings detect a broken connection.
            ("grpc.http2.max_pings_without_data", 0),
            # After an outage, all clients connect within a few seconds.
            ("grpc.initial_reconnect_backoff_ms", FIRST_RECONNECT_DELAY_MS),
            ("grpc.max_reconnect_backoff_ms", LONGEST_RECONNECT_DELAY_MS),
            # Otherwise channels to the same address share a connection.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.loopback:
            # A remote proxy cannot reach this machine.
            options.append(("grpc.enable_http_proxy", 0))
        if self.scheme == "unix" and not self.server_name:
            # gRPC would send the path as the authority, where a percent sign is not allowed.
            options.append(("grpc.default_authority", "localhost"))
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
            options.append(("grpc.default_authority", self.server_name))
        return list({**dict(options), **dict(self.more)}.items())


def service_config(*, spread: bool = False) -> str:
    """Return the retry policy, and the load balancing policy if calls are spread over addresses."""
    file = resources.files("dashgate").joinpath("service_config.json")
    config = json.loads(file.read_text(encoding="utf-8"))
    # The name of a method precedes that of its service.
    config["methodConfig"].append({"name": _NOT_RETRIED})
    if spread:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
    return json.dumps(config)


def _pem(source: PEM | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    return pathlib.Path(source).read_bytes()


def _system_roots() -> bytes | None:
    """Return the system's root certificates; gRPC for Python uses its own list by default."""
    if os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        return None
    loaded = ssl.create_default_context().get_ca_certs(binary_form=True)
    if loaded:
        return "".join(map(ssl.DER_cert_to_PEM_cert, loaded)).encode()
    # OpenSSL loads a folder of certificates only on demand.
    folder = ssl.get_default_verify_paths().capath
    files = sorted(pathlib.Path(folder).glob("*.[0-9]")) if folder else []
    # None found: use gRPC's own list.
    return b"\n".join(file.read_bytes() for file in files) or None
