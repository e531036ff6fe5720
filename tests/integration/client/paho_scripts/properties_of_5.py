"""The properties of 5.0, and a retained will published by DISCONNECT 0x04."""

# mypy: ignore-errors

import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]
subscribed, got_will = threading.Event(), threading.Event()


def on_connect(client, userdata, flags, reason_code, properties):
    print("connected", reason_code, hasattr(properties, "ServerReference"))
    subscription = Properties(PacketTypes.SUBSCRIBE)
    subscription.SubscriptionIdentifier = 7
    client.subscribe(
        f"{TOPIC}/#", options=SubscribeOptions(qos=1, noLocal=False), properties=subscription
    )


def on_message(client, userdata, message):
    p = message.properties
    print(message.topic.removeprefix(TOPIC), message.payload, p.SubscriptionIdentifier)
    if message.topic.endswith("will"):
        got_will.set()
        return
    print(p.ContentType, p.UserProperty, p.CorrelationData, p.ResponseTopic)
    print(hasattr(p, "TopicAlias"), 58 <= p.MessageExpiryInterval <= 60)


watcher = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
watcher.on_connect = on_connect
watcher.on_message = on_message
watcher.on_subscribe = lambda *_: subscribed.set()
watcher.connect(HOST, PORT)
watcher.loop_start()
subscribed.wait(30)

other = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
other.will_set(f"{TOPIC}/will", "gone", qos=1)
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 0
other.connect(HOST, PORT, clean_start=True, properties=session)
other.loop_start()
properties = Properties(PacketTypes.PUBLISH)
properties.ContentType = "text/plain"
properties.UserProperty = ("a", "1")
properties.UserProperty = ("b", "2")
properties.CorrelationData = b"\x01\x02"
properties.ResponseTopic = "answers"
properties.MessageExpiryInterval = 60
try:
    properties.ServerKeepAlive = 5
except Exception as error:
    print("refused", type(error).__name__ != "")
other.publish(f"{TOPIC}/x", "payload", qos=1, properties=properties).wait_for_publish(5)
other.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
print("will", got_will.wait(30))
other.loop_stop()
watcher.disconnect()
watcher.loop_stop()
