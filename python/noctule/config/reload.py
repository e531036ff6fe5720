"""What of a configuration can change while the broker runs."""

from noctule.access import Access, access_of
from noctule.broker import Broker, BrokerError, refuse_exposed
from noctule.config.configuration import Configuration

__all__ = ["reload"]


async def reload(broker: Broker, running: Configuration, fresh: Configuration) -> list[str]:
    """Put access control in force as `fresh` has it, its files read again.

    Certificate files need no reload: the engine looks at them by itself. Returns the options
    that differ from the `running` ones and wait for a restart. Raises AccessError, OSError or
    ImportError as `access_of` does, ExposedListenerError for listeners that would stand open;
    all that was in force stays in force then.
    """
    # The listeners are those that run: who comes in without a name depends on them.
    access = access_of(fresh.access, running)
    if not fresh.access.authenticates:
        refuse_exposed(running.listeners)
    waiting = changed(running, fresh, but="access")
    in_force = access_in_force(broker)
    if in_force is None or access is None:
        # Whether clients are asked about at all is settled when the engine starts.
        return waiting if in_force is access else ["access", *waiting]
    if fresh.access.timeout_seconds != running.access.timeout_seconds:
        waiting.append("access.timeout_seconds")
    await in_force.replace(access)
    return waiting


def changed(running: Configuration, fresh: Configuration, *, but: str) -> list[str]:
    """The names of the options that differ."""
    names = (name for name in Configuration.model_fields if name != but)
    return [name for name in names if getattr(running, name) != getattr(fresh, name)]


def access_in_force(broker: Broker) -> Access | None:
    """The access control that was configured, if any was."""
    try:
        access = broker.access
    except BrokerError:
        return None
    return access if isinstance(access, Access) else None
