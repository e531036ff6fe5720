"""Publishing, and leaving at once, while on_connect runs."""

# mypy: ignore-errors

import sys

import paho.mqtt.client as mqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def leave_a_word(client, userdata, flags, reason_code, properties):
    for word in ("one", "two"):
        client.publish(f"{TOPIC}/{word}", word, retain=True)
    client.disconnect()


def look(client, userdata, flags, reason_code, properties):
    client.subscribe(f"{TOPIC}/#", qos=1)


def on_message(client, userdata, message):
    userdata.append(message.payload)
    if len(userdata) == 2:
        client.disconnect()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect = leave_a_word
client.connect(HOST, PORT)
print(client.loop_forever() == mqtt.MQTT_ERR_SUCCESS)

got = []
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, userdata=got)
client.on_connect, client.on_message = look, on_message
client.connect(HOST, PORT)
client.loop_forever()
print(sorted(got))
