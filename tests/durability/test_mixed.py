"""kill -9 of a broker that promises more of some topics and listeners than of others."""

from pathlib import Path

import pytest

from tests.conformance.wire import Client
from tests.served_broker import ServedBroker

NEVER_EXPIRES = 0xFFFF_FFFF

RULES = """
[[durability_rules]]
filter = "telemetry/#"
durability = "memory"
"""


def client_of(broker: ServedBroker, name: str) -> Client:
    client = Client(("127.0.0.1", broker.port), client_id=name)
    client.connect(clean=False, session_expiry_interval=NEVER_EXPIRES)
    return client


@pytest.mark.parametrize("durability", ["disk", "memory"])
def test_killed_broker_keeps_what_topic_and_listener_promise(
    tmp_path: Path, durability: str
) -> None:
    rules = tmp_path / "noctule.toml"
    rules.write_text(RULES, encoding="utf-8")
    arguments = ("--config", str(rules), "--data-dir", str(tmp_path / "data"))
    listen = f"mqtt://127.0.0.1:0?durability={durability}"
    with ServedBroker(*arguments, listen=listen) as broker:
        with client_of(broker, "s") as subscriber:
            subscriber.subscribe("#", qos=1)
        with client_of(broker, "p") as publisher:
            for topic in ("telemetry/1", "orders/1"):
                assert publisher.publish(topic, b"x", qos=1, retain=True) == 0
        broker.kill()
    with ServedBroker(*arguments, listen=listen) as broker, client_of(broker, "s") as subscriber:
        assert subscriber.connack.session_present == (durability == "disk")
        if durability == "disk":
            assert subscriber.expect("PUBLISH", topic="orders/1").payload == b"x"
        subscriber.expect_nothing()
        subscriber.subscribe("+/1", qos=0)
        assert subscriber.expect("PUBLISH", topic="orders/1", retain=True).payload == b"x"
        subscriber.expect_nothing()
