"""A tap with a name on a durable broker: kill -9 the process, and nothing acknowledged is lost."""

import sqlite3
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.served_broker import ServedBroker

EXAMPLE = Path(__file__).parents[3] / "examples" / "hooks" / "store_in_sqlite.py"
KILLS = 3
ACKNOWLEDGED_A_ROUND = 200
# Far fewer than there are packet identifiers: each stands for one number.
MOST_UNDER_WAY = 1_000
WAIT_SECONDS = 30.0


class Publisher:
    """Publishes numbers at QoS 1 and remembers which of them were acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self._next = 0

    def publish_until_killed(self, broker: ServedBroker) -> None:
        """Kill the broker in the midst of it."""
        enough = threading.Event()
        under_way: dict[int, str] = {}
        acknowledged: list[int] = []
        client = paho.Client(CallbackAPIVersion.VERSION2)

        def taken(client: object, data: object, mid: int, code: object, more: object) -> None:
            acknowledged.append(mid)
            if len(acknowledged) >= ACKNOWLEDGED_A_ROUND:
                enough.set()

        client.on_publish = taken
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        try:
            until = time.monotonic() + WAIT_SECONDS
            while not enough.is_set():
                assert time.monotonic() < until
                if len(under_way) - len(acknowledged) >= MOST_UNDER_WAY:
                    enough.wait(0.001)
                    continue
                self._next += 1
                sent = client.publish("numbers", str(self._next), qos=1)
                under_way[sent.mid] = str(self._next)
            broker.kill()
        finally:
            client.disconnect()
            client.loop_stop()
        self.acknowledged |= {under_way[mid] for mid in acknowledged if mid in under_way}


def stored(database: Path) -> set[str]:
    if not database.exists():
        return set()
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute("SELECT payload FROM messages")
        return {payload.decode() for (payload,) in rows}
    except sqlite3.OperationalError:
        return set()
    finally:
        connection.close()


@pytest.mark.timeout(180)
def test_tap_gets_everything_acknowledged_over_kills(tmp_path: Path) -> None:
    database = tmp_path / "messages.sqlite"
    configuration = tmp_path / "noctule.toml"
    configuration.write_text(
        f"""
        data_dir = "{tmp_path / "data"}"
        [[plugins]]
        module = "{EXAMPLE}"
        database = "{database}"
        """
    )
    publisher = Publisher()
    for _ in range(KILLS):
        with ServedBroker("--config", str(configuration)) as broker:
            publisher.publish_until_killed(broker)
    assert len(publisher.acknowledged) >= KILLS * ACKNOWLEDGED_A_ROUND
    with ServedBroker("--config", str(configuration)):
        until = time.monotonic() + WAIT_SECONDS
        while missing := publisher.acknowledged - stored(database):
            assert time.monotonic() < until, f"{len(missing)} messages are lost"
            time.sleep(0.05)
