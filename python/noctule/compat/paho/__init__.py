"""The common part of paho-mqtt's `Client` 2.x: a way over for programs written for it.

    import noctule.compat.paho as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)

or, without a change to the program, `install()` before it imports ``paho.mqtt.client``.
"""

import sys
import types

from noctule.compat.paho._values import (
    CallbackAPIVersion,
    ConnectFlags,
    DisconnectFlags,
    MQTTErrorCode,
    MQTTMessage,
    MQTTMessageInfo,
    MQTTProtocolVersion,
    PacketTypes,
    Properties,
    ReasonCode,
    SubscribeOptions,
    connack_string,
    error_string,
    topic_matches_sub,
)
from noctule.compat.paho.client import Client

MQTTv31 = MQTTProtocolVersion.MQTTv31
MQTTv311 = MQTTProtocolVersion.MQTTv311
MQTTv5 = MQTTProtocolVersion.MQTTv5
MQTT_CLEAN_START_FIRST_ONLY = 3
MQTT_ERR_SUCCESS = MQTTErrorCode.MQTT_ERR_SUCCESS
MQTT_ERR_NO_CONN = MQTTErrorCode.MQTT_ERR_NO_CONN
MQTT_ERR_CONN_LOST = MQTTErrorCode.MQTT_ERR_CONN_LOST
MQTT_ERR_QUEUE_SIZE = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
MQTT_ERR_INVAL = MQTTErrorCode.MQTT_ERR_INVAL

__all__ = [
    "CallbackAPIVersion",
    "Client",
    "ConnectFlags",
    "DisconnectFlags",
    "MQTTErrorCode",
    "MQTTMessage",
    "MQTTMessageInfo",
    "MQTTProtocolVersion",
    "MQTT_CLEAN_START_FIRST_ONLY",
    "MQTT_ERR_CONN_LOST",
    "MQTT_ERR_INVAL",
    "MQTT_ERR_NO_CONN",
    "MQTT_ERR_QUEUE_SIZE",
    "MQTT_ERR_SUCCESS",
    "MQTTv5",
    "MQTTv31",
    "MQTTv311",
    "PacketTypes",
    "Properties",
    "ReasonCode",
    "SubscribeOptions",
    "connack_string",
    "error_string",
    "install",
    "topic_matches_sub",
]


def install() -> None:
    """Lets ``import paho.mqtt.client`` find this package, in this process.

    Also ``paho.mqtt.properties``, ``.packettypes``, ``.reasoncodes``, ``.subscribeoptions``
    and ``.enums``. RuntimeError if paho-mqtt has been imported already.
    """
    if "paho" in sys.modules and not hasattr(sys.modules["paho"], "_from_noctule"):
        raise RuntimeError("paho-mqtt is imported already; install the shim before")
    this = sys.modules[__name__]
    for name in ("paho", "paho.mqtt"):
        package = types.ModuleType(name)
        package.__path__ = []
        package._from_noctule = True  # type: ignore[attr-defined]
        sys.modules[name] = package
    for name in (
        "client",
        "properties",
        "packettypes",
        "reasoncodes",
        "subscribeoptions",
        "enums",
    ):
        sys.modules[f"paho.mqtt.{name}"] = this
        setattr(sys.modules["paho.mqtt"], name, this)
    sys.modules["paho"].mqtt = sys.modules["paho.mqtt"]  # type: ignore[attr-defined]
