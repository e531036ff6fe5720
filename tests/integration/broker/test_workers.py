"""What several workers promise together."""

from noctule import Broker
from tests.conformance import wire
from tests.conformance.wire import Client

PAIRS = 6
ROUNDS = 400


async def test_who_asks_after_an_acknowledgement_gets_the_message_first() -> None:
    """Whichever workers the two clients are on."""
    async with Broker(listeners="mqtt://127.0.0.1:0", workers=2) as broker:
        for pair in range(PAIRS):
            ask_after_each_acknowledgement(("127.0.0.1", broker.port), pair)


def ask_after_each_acknowledgement(address: tuple[str, int], pair: int) -> None:
    subscriber = Client(address, 5, client_id=f"subscriber-{pair}")
    publisher = Client(address, 5, client_id=f"publisher-{pair}")
    for client in (subscriber, publisher):
        client.connect()
    subscriber.subscribe("causal", qos=0)
    for number in range(ROUNDS):
        publisher.publish("causal", b"%d" % number, 1)
        subscriber.send(wire.PINGREQ)
        subscriber.expect("PUBLISH", payload=b"%d" % number)
        subscriber.expect("PINGRESP")
    subscriber.close()
    publisher.close()
