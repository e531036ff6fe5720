"""Safe from the first start: nobody comes in from another machine without saying who they are."""

from collections.abc import Iterable

from noctule.broker.errors import ExposedListenerError
from noctule.broker.listener import Listener

__all__ = ["refuse_exposed"]


def refuse_exposed(listeners: Iterable[Listener]) -> None:
    """Raise ExposedListenerError for a listener that lets anybody in from beyond loopback."""
    for listener in listeners:
        if not listener.is_loopback and not listener.allow_anonymous:
            raise ExposedListenerError(explanation(listener))


def explanation(listener: Listener) -> str:
    """What is open to whom, and what to write instead."""
    local = listener.model_copy(update={"host": "127.0.0.1"}).url
    return (
        f"{listener.url} can be reached from other machines, and no authentication is set up, "
        "so the broker does not start. Either listen on this machine alone:\n\n"
        f'    listeners = ["{local}"]          or  --listen {local}\n\n'
        "or say who may come in; `noctule passwd --create users.pw NAME` makes the file:\n\n"
        "    [access]\n"
        '    password_file = "users.pw"\n\n'
        "or, where everybody who reaches the address may publish and read everything, say so:\n\n"
        "    [[listeners]]\n"
        f'    scheme = "{listener.scheme}"\n'
        f'    host = "{listener.host}"\n'
        f"    port = {listener.port}\n"
        "    allow_anonymous = true\n\n"
        f"or  --listen '{listener.url}?allow_anonymous=true'"
    )
