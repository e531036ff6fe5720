"""mosquitto.conf → noctule.toml, and a word about each directive: none is dropped in silence."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from noctule.cli.mosquitto.directives import Directive

__all__ = ["Outcome", "Translation", "translate"]

UNLIMITED = {
    "max_inflight_messages": 0xFFFF,
    "max_queued_messages": 0xFFFF_FFFF,
    "max_queued_bytes": 0x7FFF_FFFF_FFFF_FFFF,
    "max_packet_bytes": 268_435_460,
}
HEADROOM_BYTES = 66_000
"""Room for topic and properties, where Mosquitto limits the payload and we limit the packet."""

EXPIRATION_SECONDS = {"h": 3600, "d": 86_400, "w": 604_800, "m": 2_592_000, "y": 31_536_000}

# Directive: section, key. A number each, where 0 may stand for no limit.
NUMBERS = {
    "max_keepalive": ("limits", "max_keep_alive_seconds"),
    "max_packet_size": ("limits", "max_packet_bytes"),
    "max_queued_bytes": ("limits", "max_queued_bytes"),
    "max_queued_messages": ("limits", "max_queued_messages"),
    "memory_limit": ("limits", "max_memory_bytes"),
    "sys_interval": ("", "system_topics_interval_seconds"),
    "global_max_connections": ("limits", "max_connections"),
}
SWITCHES = {
    "queue_qos0_messages": ("limits", "queue_qos0"),
    "retain_available": ("protocol", "retain_available"),
    "allow_zero_length_clientid": ("protocol", "allow_empty_client_identifier"),
}
# Of a listener in Mosquitto, of the broker here.
FOR_ALL_LISTENERS = {
    "max_topic_alias": ("limits", "topic_alias_maximum"),
}
UNNEEDED = {
    "allow_duplicate_messages": "every subscription gets its message, as MQTT 5.0 has it",
    "autosave_interval": "what is acknowledged is on the disk already",
    "autosave_on_changes": "what is acknowledged is on the disk already",
    "dhparamfile": "TLS uses elliptic curves alone",
    "set_tcp_nodelay": "small packets are sent at once, always",
    "tls_keyform": "keys are PEM",
    "websockets_headers_size": "there is no such buffer",
    "websockets_log_level": "there is no such library",
}
LOGGING = "what the broker says goes to standard error; let systemd or the shell keep it"
PLUG_IN = (
    "Mosquitto's plug-ins are not loaded; users and rules can come from files, JWT, HTTP, SQL, "
    "LDAP or Python"
)
BRIDGE = "Noctule has no bridges"
PRE_SHARED = "TLS with pre-shared keys is not there; use certificates"
MISSING = {
    "accept_protocol_versions": "MQTT 3.1, 3.1.1 and 5.0 are spoken on every listener",
    "auto_id_prefix": "the identifiers that the broker makes up begin with auto-",
    "bind_interface": "give the listener the address of that interface as its host",
    "capath": "put the authorities into one file, and name it as client_ca of the listener",
    "check_retain_source": "the right to publish is checked when a message is published",
    "ciphers": "TLS offers strong ciphers alone, and they cannot be chosen",
    "ciphers_tls1.3": "TLS offers strong ciphers alone, and they cannot be chosen",
    "clientid_prefixes": "write a rule for clients of that prefix, `[[access.rules]]`",
    "connection_messages": LOGGING,
    "disable_client_cert_date_checks": "certificates that have expired are refused",
    "enable_proxy_protocol": "name the proxies in proxy_protocol_from of the listener",
    "global_max_clients": "set max_connections and max_offline_sessions in [limits]",
    "http_dir": "no files are served; a web server does that",
    "listener_auto_id_prefix": "the identifiers that the broker makes up begin with auto-",
    "log_dest": LOGGING,
    "log_facility": LOGGING,
    "log_timestamp": LOGGING,
    "log_timestamp_format": LOGGING,
    "log_type": LOGGING,
    "max_inflight_bytes": "messages in flight are limited by their number alone",
    "pid_file": "the broker stays in the foreground; systemd knows its process",
    "psk_file": PRE_SHARED,
    "psk_hint": PRE_SHARED,
    "tls_engine": "keys are read from files alone",
    "tls_engine_kpass_sha1": "keys are read from files alone",
    "upgrade_outgoing_qos": "a message keeps the lower QoS of publisher and subscriber",
    "use_username_as_clientid": "client identifiers are the clients' own",
    "user": "start the broker as the user that it is to be: `User=` of systemd",
}
BRIDGE_DIRECTIVES = {
    "connection", "address", "addresses", "topic", "cleansession", "local_cleansession",
    "clientid", "keepalive_interval", "idle_timeout", "local_clientid", "local_password",
    "local_username", "notifications", "notifications_local_only", "notification_topic",
    "remote_clientid", "remote_password", "remote_username", "username", "password",
    "restart_timeout", "round_robin", "start_type", "threshold", "try_private",
}  # fmt: skip


class Outcome(NamedTuple):
    """What has become of a directive. `kind`: taken, unneeded or missing."""

    directive: Directive | None
    kind: str
    text: str


class UnfitError(Exception):
    """A directive's value cannot be taken; the text says why."""


class Translation:
    """The options of a noctule.toml, files to be copied, and the outcomes."""

    def __init__(self) -> None:
        self.listeners: list[dict[str, Any]] = []
        self.options: dict[str, dict[str, Any]] = {"": {}, "limits": {}, "protocol": {}}
        self.options["access"] = {}
        self.password_file: Path | None = None
        self.acl_file: Path | None = None
        self.persistence = False
        self.database = Path("mosquitto.db")
        self.outcomes: list[Outcome] = []
        self.needs_users = False
        """Nobody is let in as it stands: an empty file of users has to say so."""


def translate(directives: Iterable[Directive]) -> Translation:
    """Reads the directives in their order."""
    translator = _Translator()
    for directive in directives:
        translator.take(directive)
    return translator.finished()


class _Translator:
    def __init__(self) -> None:
        self.result = Translation()
        self.is_each_listener_itself = False
        # Where the directives of a listener go; the first stands for `port` and `bind_address`.
        self.standard: dict[str, Any] = {}
        self.current = self.standard
        self.named: list[dict[str, Any]] = []
        self.is_bridge = False
        self.anonymous: bool | None = None
        self.location = Path()
        self.file = "mosquitto.db"
        self.handlers: dict[str, Callable[[Directive], str]] = {
            "listener": self.listener,
            "port": self.port,
            "bind_address": self.bind_address,
            "protocol": self.protocol,
            "socket_domain": self.socket_domain,
            "max_connections": self.max_connections,
            "max_qos": self.max_qos,
            "maximum_qos": self.max_qos,
            "max_inflight_messages": self.max_inflight_messages,
            "mount_point": self.mount_point,
            "certfile": lambda d: self.listener_file("tls_certificate", d),
            "keyfile": lambda d: self.listener_file("tls_key", d),
            "cafile": lambda d: self.listener_file("client_ca", d),
            "crlfile": lambda d: self.listener_file("crl", d),
            "require_certificate": self.require_certificate,
            "use_identity_as_username": self.use_identity_as_username,
            "use_subject_as_username": self.use_subject_as_username,
            "tls_version": self.tls_version,
            "allow_anonymous": self.allow_anonymous,
            "listener_allow_anonymous": self.listener_allow_anonymous,
            "websockets_origin": self.websockets_origin,
            "password_file": self.password_file,
            "acl_file": self.acl_file,
            "per_listener_settings": self.per_listener_settings,
            "persistence": self.persistence,
            "persistence_file": self.persistence_file,
            "persistence_location": self.persistence_location,
            "persistent_client_expiration": self.expiration,
            "message_size_limit": self.message_size_limit,
        }

    def take(self, directive: Directive) -> None:
        """One line: taken, unneeded, or missing."""
        kind, text = self.outcome(directive)
        self.result.outcomes.append(Outcome(directive, kind, text))

    def outcome(self, directive: Directive) -> tuple[str, str]:
        name = directive.name
        if name == "listener":
            self.is_bridge = False
        elif name == "connection":
            self.is_bridge = True
        if name.startswith("bridge_") or (
            name in BRIDGE_DIRECTIVES and (self.is_bridge or name == "connection")
        ):
            return "missing", BRIDGE
        if name in UNNEEDED:
            return "unneeded", UNNEEDED[name]
        if name.startswith(("auth_plugin", "auth_opt_", "plugin", "global_plugin")):
            return "missing", _plug_in(directive)
        if name in MISSING:
            return "missing", MISSING[name]
        try:
            if name in self.handlers:
                return "taken", self.handlers[name](directive)
            if name in NUMBERS:
                return "taken", self.number(directive)
            if name in SWITCHES:
                section, key = SWITCHES[name]
                return "taken", self.set(section, key, _truth(directive))
            if name in FOR_ALL_LISTENERS:
                return "taken", self.for_all(directive)
        except UnfitError as error:
            return "missing", str(error)
        return "missing", "Noctule knows nothing of that name"

    def set(self, section: str, key: str, value: object) -> str:
        """Sets an option, and says which."""
        self.result.options[section][key] = value
        return f"{section}.{key}" if section else key

    def number(self, directive: Directive) -> str:
        section, key = NUMBERS[directive.name]
        value = _integer(directive)
        if value == 0 and key in UNLIMITED:
            value = UNLIMITED[key]
        return self.set(section, key, value)

    def for_all(self, directive: Directive) -> str:
        section, key = FOR_ALL_LISTENERS[directive.name]
        value = _integer(directive)
        before = self.result.options[section].get(key, value)
        self.set(section, key, min(before, value))
        if before != value:
            return f"{section}.{key}, for all listeners the lower value"
        return f"{section}.{key}, for all listeners"

    # --- Listeners --------------------------------------------------------------------

    def listener(self, directive: Directive) -> str:
        port, _, host = directive.value.partition(" ")
        self.current = {}
        self.named.append(self.current)
        if not port.isdigit():
            raise UnfitError(f"{port} is no port")
        if port == "0":
            self.current["path"] = host.strip()
        else:
            self.current |= {"port": int(port), "host": host.strip()}
        return "[[listeners]]"

    def port(self, directive: Directive) -> str:
        self.standard["port"] = _integer(directive)
        return "[[listeners]]"

    def bind_address(self, directive: Directive) -> str:
        self.standard["host"] = directive.value
        return "[[listeners]]"

    def protocol(self, directive: Directive) -> str:
        if directive.value not in ("mqtt", "websockets"):
            raise UnfitError("the protocols are mqtt and websockets")
        self.current["websockets"] = directive.value == "websockets"
        if self.current["websockets"]:
            return "[[listeners]] with the scheme ws; clients have to use the path /mqtt"
        return "[[listeners]]"

    def socket_domain(self, directive: Directive) -> str:
        if directive.value not in ("ipv4", "ipv6"):
            raise UnfitError("it can be ipv4 or ipv6")
        self.current["domain"] = directive.value
        return "[[listeners]] host"

    def max_connections(self, directive: Directive) -> str:
        value = _integer(directive)
        self.current["max_connections"] = max(0, value)  # -1 is no limit there, 0 is here.
        return "[[listeners]] max_connections"

    def max_qos(self, directive: Directive) -> str:
        value = _integer(directive)
        if not 0 <= value <= 2:
            raise UnfitError("it is 0, 1 or 2")
        self.current["maximum_qos"] = value
        return "[[listeners]] maximum_qos"

    def max_inflight_messages(self, directive: Directive) -> str:
        value = _integer(directive) or UNLIMITED["max_inflight_messages"]
        # Both ways, as in Mosquitto.
        self.set("limits", "receive_maximum", value)
        return f"{self.set('limits', 'max_inflight_messages', value)} and receive_maximum"

    def mount_point(self, directive: Directive) -> str:
        if not directive.value.endswith("/"):
            raise UnfitError("a topic_prefix of a listener ends with a slash")
        self.current["topic_prefix"] = directive.value
        return "[[listeners]] topic_prefix"

    def listener_file(self, key: str, directive: Directive) -> str:
        self.current[key] = str(Path(directive.value).absolute())
        return f"[[listeners]] {key}"

    def websockets_origin(self, directive: Directive) -> str:
        self.current.setdefault("origins", []).append(directive.value)
        return "[[listeners]] origins"

    def require_certificate(self, directive: Directive) -> str:
        self.current["require_certificate"] = _truth(directive)
        return "[[listeners]] client_certificates"

    def use_identity_as_username(self, directive: Directive) -> str:
        if not _truth(directive):
            return "access.peer_names, which is off already"
        self.set("access", "peer_names", True)
        return "access.peer_names, for all listeners"

    def use_subject_as_username(self, directive: Directive) -> str:
        if not _truth(directive):
            return "access.certificate_name, which is the name already"
        self.set("access", "peer_names", True)
        self.set("access", "certificate_name", "subject")
        return "access.peer_names and certificate_name, for all listeners"

    def tls_version(self, directive: Directive) -> str:
        versions = {"tlsv1.3": "1.3", "tlsv1.2": "1.2"}
        if directive.value not in versions:
            raise UnfitError("TLS is spoken from 1.2 on")
        self.current["tls_minimum_version"] = versions[directive.value]
        return "[[listeners]] tls_minimum_version: this version or a later one"

    # --- Access -----------------------------------------------------------------------

    def per_listener_settings(self, directive: Directive) -> str:
        self.is_each_listener_itself = _truth(directive)
        if not self.is_each_listener_itself:
            return "one set of users and rules for all listeners, as ever"
        return "allow_anonymous of each listener; users and rules are the same for all"

    def allow_anonymous(self, directive: Directive) -> str:
        if self.is_each_listener_itself:
            self.current["anonymous"] = _truth(directive)
        else:
            self.anonymous = _truth(directive)
        return "[[listeners]] allow_anonymous"

    def listener_allow_anonymous(self, directive: Directive) -> str:
        self.current["anonymous"] = _truth(directive)
        return "[[listeners]] allow_anonymous"

    def password_file(self, directive: Directive) -> str:
        self.result.password_file = self.one(self.result.password_file, directive)
        return "access.password_file, a copy"

    def acl_file(self, directive: Directive) -> str:
        self.result.acl_file = self.one(self.result.acl_file, directive)
        return "access.acl_file, a copy"

    def one(self, before: Path | None, directive: Directive) -> Path:
        path = Path(directive.value).absolute()
        if before is not None and before != path:
            raise UnfitError(f"there is one such file for all listeners, and {before} is it")
        return path

    # --- What lasts -------------------------------------------------------------------

    def persistence(self, directive: Directive) -> str:
        self.result.persistence = _truth(directive)
        return "data_dir and durability"

    def persistence_file(self, directive: Directive) -> str:
        self.file = directive.value
        return "the file of this name is read"

    def persistence_location(self, directive: Directive) -> str:
        self.location = Path(directive.value)
        return "the database there is read; data_dir is where ours lies"

    def expiration(self, directive: Directive) -> str:
        number, unit = directive.value[:-1], directive.value[-1:]
        if unit not in EXPIRATION_SECONDS or not number.isdigit():
            raise UnfitError("it is a number and one of h, d, w, m and y")
        seconds = min(int(number) * EXPIRATION_SECONDS[unit], 0xFFFF_FFFF)
        return self.set("limits", "max_session_expiry_seconds", seconds)

    def message_size_limit(self, directive: Directive) -> str:
        limit = _integer(directive)
        largest = UNLIMITED["max_packet_bytes"]
        packet = min(limit + HEADROOM_BYTES, largest) if limit else largest
        before = self.result.options["limits"].get("max_packet_bytes", packet)
        self.set("limits", "max_packet_bytes", min(before, packet))
        return "limits.max_packet_bytes, which counts the whole packet: with room for topic and all"

    # --- Put together -----------------------------------------------------------------

    def finished(self) -> Translation:
        result = self.result
        result.database = self.location / self.file
        is_local = not self.named and "port" not in self.standard
        given = list(self.named)
        if self.standard or not given:
            is_used = is_local or "port" in self.standard or "host" in self.standard
            given = [self.standard, *given] if is_used else given
        anonymous = is_local if self.anonymous is None else self.anonymous
        for listener in given:
            hosts = _loopback() if is_local and not listener.get("host") else _hosts(listener)
            result.listeners += [self.table(listener, host, anonymous=anonymous) for host in hosts]
        self.see_to_access()
        return result

    def table(self, given: dict[str, Any], host: str, *, anonymous: bool) -> dict[str, Any]:
        """A table of `[[listeners]]`."""
        is_secure = "tls_certificate" in given and "tls_key" in given
        table: dict[str, Any] = {}
        if "path" in given:
            table |= {"scheme": "unix", "path": given["path"]}
        else:
            scheme = ("ws" if given.get("websockets") else "mqtt") + ("s" if is_secure else "")
            table |= {"scheme": scheme, "host": host, "port": given.get("port", 1883)}
        if given.get("anonymous", anonymous):
            table["allow_anonymous"] = True
        plain = ("maximum_qos", "origins", "topic_prefix")
        table |= {key: given[key] for key in plain if key in given}
        if given.get("max_connections"):
            table["max_connections"] = given["max_connections"]
        if is_secure:
            keys = ["tls_certificate", "tls_key", "tls_minimum_version"]
            if given.get("require_certificate"):
                table["client_certificates"] = "required"
                keys += ["client_ca", "crl"]
            elif "client_ca" in given:
                # OpenSSL completes the server's own chain from it.
                table["tls_chain"] = given["client_ca"]
            table |= {key: given[key] for key in keys if key in given}
        return table

    def see_to_access(self) -> None:
        """Nobody is let in here whom Mosquitto has not let in."""
        result = self.result
        if result.password_file is not None or "peer_names" in result.options["access"]:
            return
        if all(listener.get("allow_anonymous") for listener in result.listeners):
            return
        result.needs_users = True
        result.outcomes.append(
            Outcome(
                None,
                "missing",
                "neither allow_anonymous nor password_file: nobody is let in until "
                "`noctule passwd` has made users",
            )
        )


def _plug_in(directive: Directive) -> str:
    if "dynamic_security" in directive.value or "dynamic-security" in directive.value:
        return f"clients and roles of the dynamic security plug-in are not read; {PLUG_IN}"
    return PLUG_IN


def _hosts(listener: dict[str, Any]) -> list[str]:
    """Without an address Mosquitto listens at all of them, of both families."""
    if listener.get("host"):
        return [listener["host"]]
    if "path" in listener or listener.get("domain") == "ipv4":
        return ["0.0.0.0"]  # noqa: S104 - as it was; strangers are refused all the same
    if listener.get("domain") == "ipv6":
        return ["::"]
    return ["0.0.0.0", "::"] if _has_ipv6() else ["0.0.0.0"]  # noqa: S104


def _loopback() -> list[str]:
    """Without any listener Mosquitto is there for this machine alone."""
    return ["127.0.0.1", "::1"] if _has_ipv6() else ["127.0.0.1"]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trying:
            trying.bind(("::1", 0))
    except OSError:
        return False
    return True


def _truth(directive: Directive) -> bool:
    value = directive.value.lower()
    if value not in ("true", "false", "1", "0"):
        raise UnfitError("it is true or false")
    return value in ("true", "1")


def _integer(directive: Directive) -> int:
    try:
        return int(directive.value)
    except ValueError:
        raise UnfitError("it is a number") from None
