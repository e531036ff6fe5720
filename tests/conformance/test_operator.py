"""What an operator does to a running broker: drain it. MQTT 5.0 §4.11."""

import asyncio

import pytest

from tests.conformance import wire
from tests.conformance.brokers import MOSQUITTO
from tests.conformance.wire import Client

statement = pytest.mark.statement
USE_ANOTHER_SERVER, SERVER_MOVED = 0x9C, 0x9D

if MOSQUITTO:
    pytest.skip("embeds a broker of this project", allow_module_level=True)

noctule = pytest.importorskip("noctule")


def embedded():
    return noctule.Broker(listeners=["mqtt://127.0.0.1:0"], durability="memory")


@statement("MQTT5", "MQTT-3.14.2-1", "MQTT-3.14.4-2", "MQTT-3.2.2-7", "MQTT-3.2.2-8")
@pytest.mark.parametrize("moved", [False, True], ids=["use-another", "moved"])
async def test_drained_broker_sends_clients_elsewhere(version, moved):
    code = SERVER_MOVED if moved else USE_ANOTHER_SERVER

    def play(port):
        client = Client(("127.0.0.1", port), version, client_id="drained")
        client.connect()
        broker.drain("other.example:1883", moved=moved)
        packet = client.expect_disconnect(code)
        assert packet is None or packet.properties["server_reference"] == "other.example:1883"
        late = Client(("127.0.0.1", port), version, client_id="late")
        late.send_connect()
        answer = late.expect_refusal(code if version == 5 else 3)
        if version == 5:
            assert answer.properties["server_reference"] == "other.example:1883"

    async with embedded() as broker:
        await asyncio.to_thread(play, broker.port)


async def test_events_tell_what_happened():
    """Connected, subscribed, dropped, unsubscribed, disconnected, in batches of dictionaries."""

    def play(port):
        with Client(("127.0.0.1", port), 5, client_id="watched") as client:
            client.connect(session_expiry_interval=60)
            client.subscribe("events/+", qos=1)
            client.send(wire.disconnect(5, 0x04))
            client.expect_close()
        with Client(("127.0.0.1", port), 5, client_id="publisher") as publisher:
            publisher.connect()
            for _ in range(5):
                publisher.publish("events/x", b"", 1)
            with Client(("127.0.0.1", port), 5, client_id="watched") as client:
                client.connect(clean=False)
                client.unsubscribe("events/+")
                client.cut()
            publisher.disconnect()

    def knock(port):
        """Until somebody listens to events there are none."""
        with Client(("127.0.0.1", port), 5, client_id="knock") as client:
            client.connect()

    limits = {"max_queued_messages": 2}
    options = {"listeners": ["mqtt://127.0.0.1:0"], "durability": "memory", "limits": limits}
    seen: list[dict[str, object]] = []
    async with noctule.Broker(**options) as broker:

        async def watch():
            async for batch in broker.events():
                assert isinstance(batch, list)
                assert batch
                seen.extend(batch)

        watching = asyncio.create_task(watch())
        while not seen:
            await asyncio.to_thread(knock, broker.port)
        await asyncio.to_thread(play, broker.port)
    await asyncio.wait_for(watching, 30)
    told = [(event["kind"], event.get("client")) for event in seen]
    for kind in ("connected", "subscribed", "disconnected", "unsubscribed"):
        assert (kind, "watched") in told
    reasons = [
        e["reason_code"]
        for e in seen
        if (e["kind"], e.get("client")) == ("disconnected", "watched")
    ]
    assert reasons[0] == 0x04
    dropped = [event for event in seen if event["kind"] == "dropped"]
    assert sum(event["messages"] for event in dropped) == 3
    assert all(event["client"] == "watched" and event["reason"] for event in dropped)
