"""Publishing before there is a connection; connect_async; errors."""

# mypy: ignore-errors

import sys
import threading

import paho.mqtt.client as mqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]
done = threading.Event()
got = []


def on_connect(client, userdata, flags, reason_code, properties):
    client.subscribe([(TOPIC, 1), (f"{TOPIC}/early", 1)])


def on_message(client, userdata, message):
    got.append(message.payload)
    if message.payload == b"end":
        done.set()


def on_subscribe(client, userdata, mid, reason_code_list, properties):
    client.publish(TOPIC, "end", qos=1)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect, client.on_message, client.on_subscribe = on_connect, on_message, on_subscribe
info = client.publish(f"{TOPIC}/early", "early", qos=1)
print("early", info.rc == mqtt.MQTT_ERR_NO_CONN)
print("subscribe", client.subscribe(TOPIC)[0] == mqtt.MQTT_ERR_NO_CONN)
for wrong in (
    lambda: client.publish("a/+"),
    lambda: client.subscribe("a/#/b"),
    lambda: client.publish("a", qos=3),
    lambda: client.connect(""),
):
    try:
        wrong()
        print("nothing")
    except ValueError:
        print("ValueError")
try:
    client.connect(HOST, 1)
except OSError:
    print("OSError")
client.connect_async(HOST, PORT)
client.loop_start()
print("done", done.wait(30))
try:
    info.is_published()
except RuntimeError:
    print("RuntimeError")
print(got)
client.disconnect()
client.loop_stop()
