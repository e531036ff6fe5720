"""An exception in a callback comes out of loop_forever; a refused login."""

# mypy: ignore-errors

import sys

import paho.mqtt.client as mqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def on_connect(client, userdata, flags, reason_code, properties):
    print("connected", reason_code.is_failure)
    raise ZeroDivisionError


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect = on_connect
client.connect(HOST, PORT)
try:
    client.loop_forever()
except ZeroDivisionError:
    print("ZeroDivisionError")
