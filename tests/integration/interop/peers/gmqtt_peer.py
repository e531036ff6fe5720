"""A peer around gmqtt, which is asyncio without paho beneath it."""

import asyncio
import json
import ssl
import sys
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

VERSIONS = {"3.1.1": MQTTv311, "5.0": MQTTv50}
ANSWER_SECONDS = 30.0

connected: asyncio.Queue[bool] = asyncio.Queue()
subscribed: asyncio.Queue[None] = asyncio.Queue()


def say(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def on_message(
    client: gmqtt.Client, topic: str, payload: bytes, qos: int, properties: dict[str, Any]
) -> int:
    retain = bool(properties.get("retain"))
    say("message", topic=topic, payload=payload.decode(), qos=qos, retain=retain)
    return 0


async def connect(said: dict[str, Any]) -> gmqtt.Client:
    version, clean, will = said["version"], said["clean"], said["will"]
    options: dict[str, Any] = {}
    if version == "5.0" and not clean:
        options["session_expiry_interval"] = 3600
    if will:
        options["will_message"] = gmqtt.Message(
            will["topic"], will["payload"], qos=will["qos"], retain=will["retain"]
        )
    made = gmqtt.Client(said["client"], clean_session=clean, **options)
    made.on_connect = lambda c, flags, code, properties: connected.put_nowait(bool(flags))
    made.on_subscribe = lambda c, mid, qos, properties: subscribed.put_nowait(None)
    made.on_message = on_message
    await made.connect(
        "127.0.0.1", said["port"], ssl=context(said["files"]), version=VERSIONS[version]
    )
    say("connected", session_present=await asyncio.wait_for(connected.get(), ANSWER_SECONDS))
    return made


def context(files: dict[str, str] | None) -> ssl.SSLContext | bool:
    """The TLS of these files; False without any."""
    if files is None:
        return False
    made = ssl.create_default_context(cafile=files["ca"])
    if "cert" in files:
        made.load_cert_chain(files["cert"], files["key"])
    return made


async def acknowledged(client: gmqtt.Client) -> None:
    """Wait until nothing is unacknowledged; gmqtt has no other way to ask."""
    await asyncio.wait_for(client._persistent_storage.wait_empty(), ANSWER_SECONDS)


async def main() -> None:
    client: gmqtt.Client | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        said: dict[str, Any] = json.loads(line)
        match said["do"]:
            case "connect":
                client = await connect(said)
            case "subscribe" if client:
                client.subscribe(said["filter"], qos=said["qos"])
                await asyncio.wait_for(subscribed.get(), ANSWER_SECONDS)
                say("subscribed")
            case "publish" if client:
                client.publish(
                    said["topic"], said["payload"], qos=said["qos"], retain=said["retain"]
                )
                await acknowledged(client)
                say("published")
            case "disconnect" if client:
                await client.disconnect()
                say("disconnected")


if __name__ == "__main__":
    asyncio.run(main())
