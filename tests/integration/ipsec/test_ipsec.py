"""MQTT through IPsec, as docs/ipsec.md has it; `make ipsec`."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.integration.ipsec.network import (
    Charon,
    Namespace,
    Wiretap,
    documented,
    refusal,
    two_namespaces,
)
from tests.served_broker import ServedBroker

INSIDE, OUTSIDE = "10.99.0.1", "10.77.0.1"
IKE_PORTS = (500, 4500)
LARGE_BYTES = 200_000
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module", autouse=True)
def _can_run() -> None:
    if "NOCTULE_TEST_IPSEC" not in os.environ:
        pytest.skip("`make ipsec` runs these, as root: they make network namespaces")
    refused = refusal()
    if refused is not None:
        pytest.skip(f"this machine cannot do it: {refused}")


@contextmanager
def two_machines(directory: Path) -> Iterator[tuple[Charon, Charon]]:
    """A broker's and a client's, each with strongSwan."""
    with ExitStack() as stack:
        machines = []
        for name, namespace in zip("bc", stack.enter_context(two_namespaces()), strict=True):
            machines.append(Charon(namespace, directory / name))
            stack.callback(machines[-1].stop)
        yield machines[0], machines[1]


def publish(namespace: Namespace, host: str, payload: bytes, file: Path) -> None:
    """By Mosquitto's client where it is there, else by ours."""
    file.write_bytes(payload)
    ours = [sys.executable, "-m", "noctule", "pub"]
    program = ["mosquitto_pub"] if shutil.which("mosquitto_pub") else ours
    namespace.run(*program, "-h", host, "-t", "t", "-q", "1", "-f", file)


@contextmanager
def subscriber(namespace: Namespace, host: str, messages: int) -> Iterator[subprocess.Popen[bytes]]:
    """`noctule sub`, once it has subscribed: it is sent a retained message of its own."""
    arguments = ["-h", host, "-t", "t", "-t", "ready", "-q", "1", "-N", "-C", str(messages + 1)]
    command = namespace.command(sys.executable, "-m", "noctule", "sub", *arguments)
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"ready"
        yield process
    finally:
        process.kill()
        process.communicate()


def payload_of(size: int) -> bytes:
    return secrets.token_hex(size // 2).encode()


def test_message_goes_through_and_the_wire_carries_nothing_but_ike_and_esp(tmp_path: Path) -> None:
    _, _, for_broker, for_client = documented()
    payloads = [payload_of(64), payload_of(LARGE_BYTES)]
    in_the_clear = payload_of(64)
    with two_machines(tmp_path) as (there, here):
        there.load(for_broker)
        here.load(for_client)
        code, said = here.swanctl("--initiate", "--child", "mqtt")
        assert code == 0, said + here.log() + there.log()
        with ExitStack() as stack:
            brokers = [
                stack.enter_context(
                    ServedBroker(
                        listen=f"mqtt://{host}:1883?allow_anonymous=true",
                        within=there.namespace.command(),
                    )
                )
                for host in (INSIDE, OUTSIDE)
            ]
            assert [broker.port for broker in brokers] == [1883, 1883]
            file = tmp_path / "payload"
            with Wiretap(here.namespace) as wiretap:
                run = here.namespace.run
                run(sys.executable, "-m", "noctule", "pub", "-h", INSIDE, "-t", "ready",
                    "-q", "1", "-r", "-m", "ready")  # fmt: skip
                with subscriber(here.namespace, INSIDE, len(payloads)) as process:
                    for payload in payloads:
                        publish(here.namespace, INSIDE, payload, file)
                    got, _ = process.communicate(timeout=WAIT_SECONDS)
            assert got == b"".join(payloads)
            # What the wiretap would see if it were not for IPsec.
            with Wiretap(here.namespace) as control:
                publish(here.namespace, OUTSIDE, in_the_clear, file)
        sas = there.swanctl("--list-sas")[1]
        assert "ESTABLISHED" in sas
        assert "INSTALLED, TUNNEL-in-UDP" in sas
    assert any(in_the_clear in frame for frame in control.frames)
    assert sum(map(len, wiretap.frames)) > 2 * LARGE_BYTES, "out and back"
    kinds = {kind_of(frame) for frame in wiretap.frames}
    assert "IKE or ESP in UDP" in kinds
    assert kinds <= {"IKE or ESP in UDP", "ARP", "IPv6 neighbours"}
    seen = b"".join(wiretap.frames)
    for payload in payloads:
        pieces = {payload[at : at + 16] for at in range(0, len(payload), 1024)}
        assert not [piece for piece in pieces if piece in seen]
    assert b"MQTT" not in seen


def kind_of(frame: bytes) -> str:
    """What an Ethernet frame carries."""
    kind, packet = int.from_bytes(frame[12:14]), frame[14:]
    if kind == 0x0806:
        return "ARP"
    if kind == 0x86DD:
        # Hop-by-hop options before ICMPv6 are those of multicast listeners.
        return "IPv6 neighbours" if packet[6] in (0, 58) else f"IPv6, next header {packet[6]}"
    if kind != 0x0800:
        return f"EtherType {kind:#06x}"
    protocol, header = packet[9], 4 * (packet[0] & 0x0F)
    ports = [int.from_bytes(packet[header + at :][:2]) for at in (0, 2)]
    if protocol == 50:
        return "ESP"
    is_ike = protocol == 17 and set(ports) <= set(IKE_PORTS)
    return "IKE or ESP in UDP" if is_ike else f"IPv4 protocol {protocol}, ports {ports}"


def test_a_wrong_key_opens_nothing(tmp_path: Path) -> None:
    _, _, for_broker, for_client = documented()
    assert for_client.count("secret = 0sPGNo") == 1
    with two_machines(tmp_path) as (there, here):
        there.load(for_broker)
        here.load(for_client.replace("secret = 0sPGNo", "secret = 0sPGNp"))
        code, said = here.swanctl("--initiate", "--child", "mqtt")
        assert code != 0
        assert "AUTHENTICATION_FAILED" in said
        assert "ESTABLISHED" not in there.swanctl("--list-sas")[1]


def test_the_files_for_transport_mode_are_read(tmp_path: Path) -> None:
    with two_machines(tmp_path) as machines:
        for machine, text, names in zip(
            machines,
            documented()[:2],
            (("broker.pem", "clients.pem"), ("sensor-7.pem", "broker-ca.pem")),
            strict=True,
        ):
            for place in (("x509", names[0]), ("x509ca", names[1])):
                machine.file(*place).write_bytes(some_certificate())
            assert "loaded connection 'mqtt'" in machine.load(text)
            known = machine.swanctl("--list-conns")[1]
            assert "mqtt: TRANSPORT" in known
            assert "[tcp/1883]" in known


def some_certificate() -> bytes:
    """Of RSA: for elliptic curves strongSwan needs one plug-in more."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
