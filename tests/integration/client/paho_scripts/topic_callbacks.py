"""Callbacks by topic, decorators, unsubscribing."""

# mypy: ignore-errors

import sys

import paho.mqtt.client as mqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
seen = []


@client.connect_callback()
def connected(client, userdata, flags, reason_code, properties):
    client.subscribe(f"{TOPIC}/#")


@client.subscribe_callback()
def subscribed(client, userdata, mid, reason_code_list, properties):
    for name in ("one", "two/x", "three", "two/y"):
        client.publish(f"{TOPIC}/{name}", name, qos=1)


@client.topic_callback(f"{TOPIC}/two/+")
def two(client, userdata, message):
    seen.append(("two", message.payload))


def one(client, userdata, message):
    seen.append(("one", message.payload))


@client.message_callback()
def others(client, userdata, message):
    seen.append(("others", message.payload))
    if message.payload == b"last":
        client.unsubscribe(f"{TOPIC}/#")


@client.unsubscribe_callback()
def unsubscribed(client, userdata, mid, reason_code_list, properties):
    print("unsubscribed", [str(code) for code in reason_code_list])
    client.disconnect()


@client.publish_callback()
def published(client, userdata, mid, reason_code, properties):
    global count
    count += 1
    if count == 4:
        client.message_callback_remove(f"{TOPIC}/one")
        client.publish(f"{TOPIC}/one", "last")


count = 0
client.message_callback_add(f"{TOPIC}/one", one)
client.connect(HOST, PORT)
client.loop_forever()
print(sorted(seen))
print(mqtt.topic_matches_sub("a/+/c", "a/b/c"), mqtt.topic_matches_sub("#", "$SYS/x"))
