"""loop_forever, ended by a callback; a persistent session before 5.0."""

# mypy: ignore-errors

import sys

import paho.mqtt.client as mqtt

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]
IDENTIFIER = TOPIC.replace("/", "-")[-20:]


def run(publishes):
    def on_connect(client, userdata, flags, reason_code, properties):
        print("connected", reason_code, flags.session_present)
        if not flags.session_present:
            client.subscribe(TOPIC, qos=1)
        elif not publishes:
            client.disconnect()

    def on_subscribe(client, userdata, mid, reason_code_list, properties):
        print("granted", [code.value for code in reason_code_list])
        client.publish(TOPIC, "hello", qos=1)

    def on_message(client, userdata, message):
        print("message", message.payload.decode(), message.qos)
        client.disconnect()

    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=IDENTIFIER, clean_session=False
    )
    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.connect(HOST, PORT)
    print("ended", client.loop_forever() == mqtt.MQTT_ERR_NO_CONN)


run(True)
run(False)
