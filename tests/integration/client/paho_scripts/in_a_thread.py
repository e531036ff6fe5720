"""loop_start, and every QoS there and back."""

# mypy: ignore-errors

import sys
import threading

import paho.mqtt.client as mqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ready, done = threading.Event(), threading.Event()
got = []


def on_connect(client, userdata, flags, reason_code, properties):
    print("connected", reason_code, reason_code == 0, flags.session_present, userdata)
    result, mid = client.subscribe([(f"{TOPIC}/a", 0), (f"{TOPIC}/b", 2)])
    print("subscribe", result == mqtt.MQTT_ERR_SUCCESS, mid is not None)


def on_subscribe(client, userdata, mid, reason_code_list, properties):
    print("subscribed", [str(code) for code in reason_code_list])
    ready.set()


def on_message(client, userdata, message):
    got.append((message.topic.removeprefix(TOPIC), message.payload, message.qos, message.retain))
    if len(got) == 4:
        done.set()


def on_disconnect(client, userdata, flags, reason_code, properties):
    print("disconnected", reason_code, flags.is_disconnect_packet_from_server)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, userdata="data")
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.on_disconnect = on_disconnect
print("before", client.is_connected())
print("connect", client.connect(HOST, PORT, 60) == mqtt.MQTT_ERR_SUCCESS)
client.loop_start()
ready.wait(30)
print("now", client.is_connected())
for qos, name in ((0, "a"), (1, "b"), (2, "b")):
    info = client.publish(f"{TOPIC}/{name}", f"text {qos}", qos=qos)
    info.wait_for_publish(5)
    print("published", info.rc == mqtt.MQTT_ERR_SUCCESS, info.is_published())
client.publish(f"{TOPIC}/a", 42).wait_for_publish(5)
done.wait(30)
print(sorted(got))
client.disconnect()
client.loop_stop()
print("after", client.is_connected())
