"""The border as Python sees it: `noctule._engine` alone, without the rest of the package."""

import json
import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from noctule._engine import DecodeError, Engine, decode

VECTORS = Path(__file__).parents[1] / "vectors" / "vectors.jsonl"
CONNECT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc"


def engine(**options: Any) -> Engine:
    listener = {"scheme": "mqtt", "host": "127.0.0.1", "port": 0}
    return Engine(json.dumps({"listeners": [listener], "workers": 2} | options))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"worker": 2}, "worker"),
        ({"limits": {"max_connections": -1}}, "limits.max_connections"),
        ({"durability": "paper"}, "durability"),
        ({"listeners": [{"scheme": "mqtt", "host": "127.0.0.1", "port": 1 << 16}]}, "listeners"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        engine(**options)


def test_an_address_in_use_is_an_os_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = engine(listeners=[{"scheme": "mqtt", "host": "127.0.0.1", "port": port}])
        with pytest.raises(OSError, match=f"mqtt://127.0.0.1:{port}: ") as raised:
            refused.start()
    assert raised.value.errno is not None
    assert not refused.is_running
    refused.start()
    assert refused.is_running
    refused.stop()


def test_an_engine_serves_between_start_and_stop() -> None:
    served = engine()
    assert served.addresses() == []
    assert not served.is_running
    served.start()
    [(place, host, port)] = served.addresses()
    assert (place, host) == (0, "127.0.0.1")
    with socket.create_connection((host, port), timeout=10) as client:
        client.sendall(CONNECT)
        assert client.recv(4) == b"\x20\x02\x00\x00"
        assert served.statistics()["clients_connected"] == 1
        served.stop()
        assert client.recv(1) == b""
    assert not served.is_running
    assert served.failure is None
    served.stop()


def test_events_come_in_batches_and_the_descriptor_announces_them() -> None:
    observed = engine()
    observed.observe(True)
    observed.start()
    while observed.next_events(0):
        pass
    assert not readable(observed)
    with socket.create_connection(observed.addresses()[0][1:], timeout=10) as client:
        client.sendall(CONNECT)
        events = observed.next_events(10)
        assert events
        assert events[0]["kind"] == "connected"
        assert events[0]["client"] == "abc"
    observed.stop()
    assert readable(observed)
    kinds = []
    while (batch := observed.next_events(None, maximum=1)) is not None:
        kinds += [event["kind"] for event in batch]
    assert "disconnected" in kinds
    assert readable(observed)


def readable(of: Engine) -> bool:
    return bool(select.select([of.event_fd()], [], [], 0)[0])


def test_the_log_comes_as_events_and_nothing_else_does_unobserved() -> None:
    silent = engine()
    silent.start()
    with socket.create_connection(silent.addresses()[0][1:], timeout=10) as client:
        client.sendall(CONNECT)
        client.recv(4)
    silent.stop()
    events = []
    while (batch := silent.next_events(None)) is not None:
        events += batch
    assert {event["kind"] for event in events} == {"log"}
    port = silent.addresses()[0][2]
    assert f"listening on mqtt://127.0.0.1:{port}" in [event["message"] for event in events]


def test_waiting_for_events_leaves_the_gil_to_others() -> None:
    idle = engine()
    idle.start()
    while idle.next_events(0):
        pass
    waiting = threading.Thread(target=idle.next_events, args=(None,))
    waiting.start()
    begin = time.monotonic()
    idle.stop()
    waiting.join(10)
    assert not waiting.is_alive()
    assert time.monotonic() - begin < 5


def test_a_forked_child_leaves_the_engine_alone() -> None:
    served = engine()
    served.start()
    child = os.fork()
    if child == 0:
        served.stop()
        os._exit(0 if not served.is_running else 1)
    assert os.waitpid(child, 0)[1] == 0
    with socket.create_connection(served.addresses()[0][1:], timeout=10) as client:
        client.sendall(CONNECT)
        assert client.recv(4) == b"\x20\x02\x00\x00"
    served.stop()


def vectors() -> list[dict[str, Any]]:
    lines = VECTORS.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line]


def test_decode_agrees_with_every_valid_vector() -> None:
    compared = 0
    for vector in vectors():
        if not vector["valid"] or "payload_len" in vector["packet"]:
            continue
        packet = json.loads(decode(vector["ver"], bytes.fromhex(vector["hex"])))
        assert packet == vector["packet"], vector["id"]
        compared += 1
    assert compared > 200


def test_what_is_no_packet_is_refused_with_its_reason_code() -> None:
    with pytest.raises(DecodeError, match="QoS") as raised:
        decode(4, b"\x36\x05\x00\x01a\x00\x01")
    assert raised.value.reason_code == 0x81
    assert raised.value.what == str(raised.value)
    for data in (CONNECT[:-1], CONNECT + b"\x00", b""):
        with pytest.raises(DecodeError):
            decode(4, data)
    with pytest.raises(ValueError, match="version"):
        decode(6, CONNECT)
