"""For tests of programs that speak MQTT: a real broker, in the test's own process.

    def test_thermostat_says_when_it_is_cold(mqtt_broker):
        with Thermostat(mqtt_broker.url):
            mqtt_broker.publish("cellar/temperature", "3")
            [alarm] = mqtt_broker.wait_for("cellar/alarm")
        assert alarm.payload == b"frost"

The fixture `mqtt_broker` comes with ``pytest_plugins = ["noctule.testing.plugin"]`` in
``conftest.py``; `LocalBroker` serves every other way of testing.
"""

from noctule.testing.local_broker import LocalBroker

__all__ = ["LocalBroker"]
