"""Debian's mosquitto_pub and mosquitto_sub, run as people run them.

Each at MQTT 3.1, 3.1.1 and 5.0 and at QoS 0, 1 and 2.
"""

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        shutil.which("mosquitto_sub") is None, reason="mosquitto-clients is not installed"
    ),
]

VERSIONS = ("mqttv31", "mqttv311", "mqttv5")
QOS = (0, 1, 2)
SECONDS = 60


class Subscriber:
    """A running mosquitto_sub that prints `topic payload qos retain`, one message a line."""

    def __init__(self, port: int, *arguments: str) -> None:
        # stdbuf: into a pipe it would print in blocks. -d: it says when it is subscribed.
        command = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(port), "-d", "-F", "> %t %p %q %r"]
        self.process = subprocess.Popen(
            [*command, "-W", str(SECONDS), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self.early: list[str] = []
        self.line("Subscribed (mid")

    def line(self, beginning: str) -> str:
        """The next line that begins so; messages before it are kept."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            if line.startswith(beginning):
                return line.rstrip("\n")
            seen.append(line)
            if line.startswith("> "):
                self.early.append(line.rstrip("\n"))
        raise AssertionError(f"mosquitto_sub ended without {beginning!r}: {seen}")

    def message(self) -> tuple[str, ...]:
        """Topic, payload, QoS and retain flag of the next message."""
        line = self.early.pop(0) if self.early else self.line("> ")
        return tuple(line.split(" ")[1:])

    def end(self, number: signal.Signals) -> None:
        """Send the signal and wait: SIGKILL loses the connection, SIGTERM says goodbye."""
        self.process.send_signal(number)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def subscriber(broker_port: int) -> Iterator[Callable[..., Subscriber]]:
    """Starts mosquitto_sub with the arguments given."""
    with ExitStack() as stack:

        def start(*arguments: str) -> Subscriber:
            started = Subscriber(broker_port, *arguments)
            stack.callback(started.end, signal.SIGKILL)
            return started

        yield start


@pytest.fixture
def topic() -> str:
    """A topic name of the test's own."""
    return f"tools/{uuid4().hex}"


def publish(port: int, *arguments: str, text: str | None = None) -> None:
    """Run mosquitto_pub to its end."""
    subprocess.run(
        ["mosquitto_pub", "-p", str(port), *arguments],
        check=True,
        timeout=SECONDS,
        input=text,
        encoding="utf-8",
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_subscriber_receives_what_publisher_sends(
    subscriber: Callable[..., Subscriber], broker_port: int, topic: str, version: str, qos: int
) -> None:
    listening = subscriber("-V", version, "-t", topic, "-q", str(qos))
    publish(broker_port, "-V", version, "-t", topic, "-q", str(qos), "-m", "hello")
    assert listening.message() == (topic, "hello", str(qos), "0")


@pytest.mark.parametrize("publisher_version", VERSIONS)
@pytest.mark.parametrize("subscriber_version", VERSIONS)
def test_versions_mix(
    subscriber: Callable[..., Subscriber],
    broker_port: int,
    topic: str,
    publisher_version: str,
    subscriber_version: str,
) -> None:
    listening = subscriber("-V", subscriber_version, "-t", f"{topic}/+", "-q", "2")
    publish(broker_port, "-V", publisher_version, "-t", f"{topic}/a", "-q", "2", "-m", "hello")
    assert listening.message() == (f"{topic}/a", "hello", "2", "0")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_retained_message_is_sent_to_new_subscriber(
    subscriber: Callable[..., Subscriber], broker_port: int, topic: str, version: str, qos: int
) -> None:
    arguments = ["-V", version, "-t", topic, "-q", str(qos)]
    publish(broker_port, *arguments, "-r", "-m", "kept")
    publish(broker_port, "-t", f"{topic}/handled", "-q", "1", "-m", "now")
    assert subscriber(*arguments).message() == (topic, "kept", str(qos), "1")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_will_fires_when_subscriber_is_killed(
    subscriber: Callable[..., Subscriber], broker_port: int, topic: str, version: str, qos: int
) -> None:
    watching = subscriber("-V", version, "-t", topic, "-q", "2")
    will = ["--will-topic", topic, "--will-payload", "gone", "--will-qos", str(qos)]
    doomed = subscriber("-V", version, "-t", f"{topic}/other", *will)
    doomed.end(signal.SIGKILL)
    assert watching.message() == (topic, "gone", str(qos), "0")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [1, 2])
def test_session_is_resumed_with_what_came_meanwhile(
    subscriber: Callable[..., Subscriber], broker_port: int, topic: str, version: str, qos: int
) -> None:
    # -x is a session expiry interval in seconds, for 5.0 alone.
    expiry = ["-x", "3600"] if version == "mqttv5" else []
    client = ["-V", version, "-i", f"tool{uuid4().hex[:19]}", "-c", *expiry]
    subscriber(*client, "-t", topic, "-q", str(qos)).end(signal.SIGTERM)
    for number in range(3):
        publish(broker_port, "-t", topic, "-q", str(qos), "-m", f"{number}")
    resumed = subscriber(*client, "-t", f"{topic}/another", "-q", str(qos))
    received = [resumed.message() for _ in range(3)]
    assert received == [(topic, str(number), str(qos), "0") for number in range(3)]


@pytest.mark.parametrize("qos", QOS)
def test_lines_from_standard_input_keep_their_order(
    subscriber: Callable[..., Subscriber], broker_port: int, topic: str, qos: int
) -> None:
    listening = subscriber("-t", topic, "-q", str(qos))
    lines = [f"line-{number}" for number in range(1000)]
    publish(broker_port, "-t", topic, "-q", str(qos), "-l", text="\n".join(lines) + "\n")
    assert [listening.message()[1] for _ in lines] == lines
