"""The broker's own topics, named as Mosquitto names them."""

import pytest

NUMBERS = [
    "clients/connected",
    "clients/disconnected",
    "clients/expired",
    "clients/maximum",
    "clients/total",
    "messages/received",
    "messages/sent",
    "messages/stored",
    "bytes/received",
    "bytes/sent",
    "publish/messages/received",
    "publish/messages/sent",
    "publish/messages/dropped",
    "publish/bytes/received",
    "publish/bytes/sent",
    "retained messages/count",
    "subscriptions/count",
    "shared_subscriptions/count",
    "store/messages/count",
    "store/messages/bytes",
    "store/messages/disk/count",
    "store/messages/disk/bytes",
    "heap/current",
    "heap/maximum",
    "packet/out/count",
    "packet/out/bytes",
]
LOADS = [
    "load/messages/received",
    "load/messages/sent",
    "load/publish/received",
    "load/publish/sent",
    "load/publish/dropped",
    "load/bytes/received",
    "load/bytes/sent",
    "load/sockets",
    "load/connections",
]


def value(connect, name):
    client = connect(5)
    client.subscribe(f"$SYS/broker/{name}")
    payload = client.expect_message(f"$SYS/broker/{name}").payload
    client.disconnect()
    return payload.decode()


@pytest.mark.parametrize("name", NUMBERS)
def test_counters_are_numbers(connect, name):
    assert int(value(connect, name)) >= 0


@pytest.mark.parametrize("minutes", ["1min", "5min", "15min"])
@pytest.mark.parametrize("name", LOADS)
def test_loads_are_averages_of_three_spans(connect, name, minutes):
    assert float(value(connect, f"{name}/{minutes}")) >= 0


def test_version_and_uptime(connect):
    assert value(connect, "version")
    assert value(connect, "uptime").endswith(" seconds")


def test_system_topics_are_published_at_their_interval(connect):
    client = connect(5)
    client.subscribe("$SYS/broker/uptime")
    seconds = [int(client.expect_message().payload.split()[0]) for _ in range(3)]
    assert seconds[0] < seconds[1] < seconds[2] <= seconds[0] + 4


def awaited(connect, name, least):
    """Waits until the named counter shows at least this much."""
    client = connect(5)
    client.subscribe(f"$SYS/broker/{name}")
    for _ in range(8):
        if int(client.expect_message().payload) >= least:
            client.disconnect()
            return
    raise AssertionError(f"{name} stays below {least}")


def test_counters_count(connect, topic):
    watched = ["publish/messages/received", "subscriptions/count", "retained messages/count"]
    before = {name: int(value(connect, name)) for name in watched}
    clients = [connect(5) for _ in range(4)]
    for client in clients:
        client.subscribe(topic, qos=1)
    for at in range(10):
        clients[0].publish(f"{topic}/{at}", b"x", 1, retain=True)
    awaited(connect, "publish/messages/received", before["publish/messages/received"] + 10)
    awaited(connect, "subscriptions/count", before["subscriptions/count"] + 4)
    awaited(connect, "retained messages/count", before["retained messages/count"] + 10)
    awaited(connect, "clients/connected", 4)
    for at in range(10):
        clients[0].publish(f"{topic}/{at}", b"", 1, retain=True)


def test_system_topics_are_kept_for_new_subscribers(connect):
    client = connect(5)
    client.subscribe("$SYS/broker/version")
    client.expect_message("$SYS/broker/version", retain=True)


@pytest.mark.broker(system_topics_interval_seconds=0)
def test_system_topics_can_be_switched_off(connect, elapse):
    client = connect(5)
    client.subscribe("$SYS/#")
    elapse(1.5)
    client.expect_nothing()
