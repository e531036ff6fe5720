"""The client for programs without an event loop; its methods block.

    import noctule.sync

    with noctule.sync.connect("mqtt://localhost") as client:
        with client.subscribe("sensors/+/temperature", qos=1) as messages:
            for message in messages:
                print(message.topic, message.text)

It is `noctule.client` in a thread of its own: the same arguments, the same behaviour, and
usable from several threads. Handlers run in threads, so that they may block.
"""

from noctule.sync.client import Client, connect
from noctule.sync.receipt import Receipt
from noctule.sync.subscription import Subscription

__all__ = ["Client", "Receipt", "Subscription", "connect"]
