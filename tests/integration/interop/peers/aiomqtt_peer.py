"""A peer around aiomqtt, the asyncio client on top of paho-mqtt."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

VERSIONS = {
    "3.1": aiomqtt.ProtocolVersion.V31,
    "3.1.1": aiomqtt.ProtocolVersion.V311,
    "5.0": aiomqtt.ProtocolVersion.V5,
}


def say(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def client_for(said: dict[str, Any]) -> aiomqtt.Client:
    version, clean, will = said["version"], said["clean"], said["will"]
    options: dict[str, Any] = {"clean_session": clean}
    if version == "5.0":
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0 if clean else 3600
        options = {"clean_start": clean, "properties": properties}
    if will:
        options["will"] = aiomqtt.Will(will["topic"], will["payload"], will["qos"], will["retain"])
    return aiomqtt.Client(
        "127.0.0.1",
        said["port"],
        identifier=said["client"],
        protocol=VERSIONS[version],
        **options,
    )


async def print_messages(client: aiomqtt.Client) -> None:
    async for message in client.messages:
        assert isinstance(message.payload, bytes)
        say(
            "message",
            topic=message.topic.value,
            payload=message.payload.decode(),
            qos=message.qos,
            retain=bool(message.retain),
        )


async def main() -> None:
    stack = AsyncExitStack()
    client: aiomqtt.Client | None = None
    printer: asyncio.Task[None] | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        said: dict[str, Any] = json.loads(line)
        match said["do"]:
            case "connect":
                client = client_for(said)
                await stack.enter_async_context(client)
                printer = asyncio.create_task(print_messages(client))
                say("connected", session_present=None)  # aiomqtt does not tell
            case "subscribe" if client:
                await client.subscribe(said["filter"], qos=said["qos"])
                say("subscribed")
            case "publish" if client:
                await client.publish(
                    said["topic"], said["payload"], qos=said["qos"], retain=said["retain"]
                )
                say("published")
            case "disconnect" if printer:
                printer.cancel()
                await stack.aclose()
                say("disconnected")


if __name__ == "__main__":
    asyncio.run(main())
