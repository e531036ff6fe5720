"""The program's own loop around loop()."""

# mypy: ignore-errors

import sys
import time

import paho.mqtt.client as mqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]
steps = []


def on_connect(client, userdata, flags, reason_code, properties):
    steps.append("connected")
    client.subscribe(TOPIC, qos=2)


def on_subscribe(client, userdata, mid, reason_code_list, properties):
    steps.append("subscribed")
    for number in range(5):
        client.publish(TOPIC, str(number), qos=2)


def on_message(client, userdata, message):
    steps.append(message.payload.decode())


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.connect(HOST, PORT)
until = time.monotonic() + 30
while len(steps) < 7 and time.monotonic() < until:
    client.loop(0.1)
print(steps)
client.disconnect()
