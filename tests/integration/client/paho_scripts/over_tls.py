"""tls_set, and a certificate that nobody knows."""

# mypy: ignore-errors

import ssl
import sys
import threading

import paho.mqtt.client as mqtt

TOPIC, TLS_PORT, CA = sys.argv[3], int(sys.argv[4]), sys.argv[5]
done = threading.Event()

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.tls_set(ca_certs=CA)
client.on_connect = lambda c, *_: c.subscribe(TOPIC)
client.on_subscribe = lambda c, *_: c.publish(TOPIC, "secret")
client.on_message = lambda c, _, message: (print(message.payload), done.set())
client.connect("localhost", TLS_PORT)
client.loop_start()
print(done.wait(30))
client.disconnect()
client.loop_stop()

stranger = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
stranger.tls_set()
try:
    stranger.connect("localhost", TLS_PORT)
except ssl.SSLError as error:
    print(type(error).__name__)
