"""A peer around paho-mqtt, with its network loop in a thread."""

import json
import sys
from queue import Queue
from threading import Lock
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

VERSIONS = {
    "3.1": MQTTProtocolVersion.MQTTv31,
    "3.1.1": MQTTProtocolVersion.MQTTv311,
    "5.0": MQTTProtocolVersion.MQTTv5,
}
ANSWER_SECONDS = 30.0

connected: Queue[bool] = Queue()
subscribed: Queue[None] = Queue()
disconnected: Queue[None] = Queue()
speaking = Lock()


def say(event: str, **values: Any) -> None:
    # Messages are told from the network thread, answers from the main one.
    with speaking:
        sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
        sys.stdout.flush()


def on_message(client: Client, userdata: object, message: MQTTMessage) -> None:
    say(
        "message",
        topic=message.topic,
        payload=message.payload.decode(),
        qos=message.qos,
        retain=message.retain,
    )


def connect(said: dict[str, Any]) -> Client:
    port, version, clean, will = said["port"], said["version"], said["clean"], said["will"]
    protocol = VERSIONS[version]
    clean_session = None if version == "5.0" else clean
    made = Client(
        CallbackAPIVersion.VERSION2,
        client_id=said["client"],
        clean_session=clean_session,
        protocol=protocol,
        transport="websockets" if said["transport"] in ("ws", "wss") else "tcp",
    )
    if files := said["files"]:
        made.tls_set(files["ca"], files.get("cert"), files.get("key"))
    made.on_connect = lambda c, u, flags, reason, p: connected.put(flags.session_present)
    made.on_subscribe = lambda c, u, mid, reasons, p: subscribed.put(None)
    made.on_disconnect = lambda c, u, flags, reason, p: disconnected.put(None)
    made.on_message = on_message
    if will:
        made.will_set(will["topic"], will["payload"], will["qos"], will["retain"])
    if version == "5.0":
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0 if clean else 3600
        made.connect("127.0.0.1", port, clean_start=clean, properties=properties)
    else:
        made.connect("127.0.0.1", port)
    made.loop_start()
    say("connected", session_present=connected.get(timeout=ANSWER_SECONDS))
    return made


def main() -> None:
    client: Client | None = None
    for line in sys.stdin:
        said: dict[str, Any] = json.loads(line)
        match said["do"]:
            case "connect":
                client = connect(said)
            case "subscribe" if client:
                client.subscribe(said["filter"], said["qos"])
                subscribed.get(timeout=ANSWER_SECONDS)
                say("subscribed")
            case "publish" if client:
                sent = client.publish(said["topic"], said["payload"], said["qos"], said["retain"])
                sent.wait_for_publish(ANSWER_SECONDS)
                assert sent.is_published()
                say("published")
            case "disconnect" if client:
                client.disconnect()
                disconnected.get(timeout=ANSWER_SECONDS)
                client.loop_stop()
                say("disconnected")


if __name__ == "__main__":
    main()
