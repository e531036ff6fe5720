"""All that a configuration may hold: the broker's options and access control."""

from noctule.access import Access, AccessOptions, access_of
from noctule.broker import Broker, BrokerOptions, refuse_exposed

__all__ = ["Configuration", "broker_of"]


class Configuration(BrokerOptions):
    """The broker's options and the sections of what works beside it."""

    access: AccessOptions = AccessOptions()
    """Who is let in, and what they may do. Without anything set here, everybody on this machine
    may do everything."""


def broker_of(configuration: Configuration) -> Broker:
    """A broker as it is configured, access control included.

    Raises AccessError or OSError for a file of the access section that cannot be read,
    ExposedListenerError as Broker does.
    """
    access: Access | None = access_of(configuration.access, configuration)
    if not configuration.access.authenticates:
        refuse_exposed(configuration.listeners)
    return Broker(
        configuration,
        authenticator=access,
        authentication_timeout_seconds=configuration.access.timeout_seconds,
    )
