"""Where a broker listens: an address, and who may come in through it."""

from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["DEFAULT_PORTS", "Listener"]

DEFAULT_PORTS = {"mqtt": 1883}


class Listener(BaseModel):
    """One address to listen on, written as a table or as a URL such as `mqtt://127.0.0.1:1883`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    scheme: Literal["mqtt"] = "mqtt"
    """How clients speak here: `mqtt` is MQTT over TCP."""

    host: str = "127.0.0.1"
    """Address to bind, a name or a number; `0.0.0.0` is every IPv4 address of the machine."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 1883
    """TCP port; 0 lets the system choose a free one."""

    allow_anonymous: bool = False
    """Whether clients from other machines may come in without saying who they are.

    Loopback addresses are open as long as no authentication is configured.
    """

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        return fields_of_url(value) if isinstance(value, str) else value

    @property
    def url(self) -> str:
        """The address as a URL, `mqtt://127.0.0.1:1883`."""
        return f"{self.scheme}://{bracketed(self.host)}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address; False for names other than localhost."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def fields_of_url(url: str) -> dict[str, Any]:
    """Take `scheme://host:port?option=value` apart; ValueError where it is not of that form."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        known = ", ".join(f"{scheme}://" for scheme in DEFAULT_PORTS)
        raise ValueError(f"the scheme of {url!r} is not one of {known}")
    if parts.hostname is None:
        raise ValueError(f"{url!r} has no host; write for example mqtt://127.0.0.1:1883")
    if parts.path not in ("", "/") or parts.fragment or parts.username is not None:
        raise ValueError(f"{url!r} may hold a scheme, a host and a port, as in mqtt://[::1]:1883")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"the port of {url!r} is not a number from 0 to 65535") from None
    fields: dict[str, Any] = {
        "scheme": parts.scheme,
        "host": parts.hostname,
        "port": DEFAULT_PORTS[parts.scheme] if port is None else port,
    }
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        fields[name] = {"true": True, "false": False}.get(text, text)
    return fields


def bracketed(host: str) -> str:
    """The host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
