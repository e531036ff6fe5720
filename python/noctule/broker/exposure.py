"""Safe from the first start: nobody comes in from another machine without saying who they are."""

import json
from collections.abc import Iterable
from shlex import quote
from typing import Any
from urllib.parse import urlencode

from noctule.broker.errors import ExposedListenerError
from noctule.broker.listener import Listener

__all__ = ["refuse_exposed"]


def refuse_exposed(listeners: Iterable[Listener]) -> None:
    """Raise ExposedListenerError for a listener that lets anybody in from beyond loopback."""
    for listener in listeners:
        if not listener.is_loopback and not listener.allow_anonymous:
            raise ExposedListenerError(explanation(listener))


def explanation(listener: Listener) -> str:
    """What is open to whom, and what to write instead: as it is in all else."""
    local = url_with_options(listener.model_copy(update={"host": "127.0.0.1"}))
    told = listener.model_copy(update={"allow_anonymous": True})
    table = {"scheme": told.scheme, "host": told.host, "port": told.port, **options(told)}
    lines = [f"    {name} = {as_toml(value)}\n" for name, value in table.items()]
    return (
        f"{listener.url} can be reached from other machines, and no authentication is set up, "
        "so the broker does not start. Either listen on this machine alone:\n\n"
        f"    listeners = [{as_toml(local)}]          or  --listen {quote(local)}\n\n"
        "or say who may come in; `noctule passwd --create users.pw NAME` makes the file:\n\n"
        "    [access]\n"
        '    password_file = "users.pw"\n\n'
        "or, where everybody who reaches the address may publish and read everything, say so:\n\n"
        "    [[listeners]]\n"
        f"{''.join(lines)}\n"
        f"or  --listen {quote(url_with_options(told))}"
    )


def url_with_options(listener: Listener) -> str:
    """The listener as one URL."""
    given = options(listener)
    given.pop("websocket_path", None)  # a part of the URL
    words = {name: str(value).lower() for name, value in given.items() if isinstance(value, bool)}
    query = urlencode({**given, **words}, doseq=True, safe="/:")
    return f"{listener.url}?{query}" if query else listener.url


def options(listener: Listener) -> dict[str, Any]:
    """What is set beside the place."""
    return listener.model_dump(
        mode="json", exclude_defaults=True, exclude={"scheme", "host", "port", "path"}
    )


def as_toml(value: object) -> str:
    """A text, a number, a truth value or a list of texts: JSON writes them as TOML does."""
    return json.dumps(value, ensure_ascii=False)
