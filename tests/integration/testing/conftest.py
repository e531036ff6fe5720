from noctule.testing.plugin import mqtt_broker

__all__ = ["mqtt_broker"]
