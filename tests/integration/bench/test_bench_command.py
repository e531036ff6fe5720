"""`noctule bench` against our own broker, and against one that keeps messages to itself."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served_broker import ServedBroker

BENCH = [sys.executable, "-m", "noctule", "bench"]
TIMEOUT_SECONDS = 30


def bench(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*BENCH, "--port", str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ServedBroker("--workers", "1", "--durability", "memory") as broker:
        yield broker.port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A broker that says yes to everything and delivers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def accept(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=swallow, args=(connection,), daemon=True).start()


def swallow(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(65_536):
            if data[0] == 0x10:
                connection.sendall(bytes([0x20, 2, 0, 0]))
            elif data[0] == 0x82:
                connection.sendall(bytes([0x90, 3, *data[2:4], 0]))


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        (["--messages", "2000"], 2_000),
        (["-n", "500", "--pubs", "3", "--subs", "4", "--topics", "2", "-q", "2"], 1_000),
        (["-n", "900", "--mixed", "--topics", "50", "-s", "16-900", "-q", "1", "-V", "5"], 900),
        (["-n", "300", "--rate", "3000", "--threads", "2"], 300),
        (["idle", "--connections", "30", "--hold", "0.1"], 30),
        (["connect", "-n", "100", "--filters", "2", "--topics", "200"], 100),
        (["retained", "-n", "500", "--subs", "2", "--prefix", "kept"], 1_000),
    ],
)
def test_every_kind_of_run_is_clean(port: int, arguments: list[str], received: int) -> None:
    run = bench(port, *arguments, "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["received"] == received
    assert report["lost"] == report["duplicates"] == report["out_of_order"] == 0
    assert run.stderr == "", "progress is for terminals"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, in one file with its key."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(file)]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", f"{file}.chain"]
    command += ["-addext", "basicConstraints=CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.chain").read_text())
    return file


@pytest.mark.parametrize("scheme", ["mqtts", "ws", "wss"])
def test_runs_go_over_every_transport(scheme: str, certificate: Path) -> None:
    listen = f"{scheme}://127.0.0.1:0"
    arguments = ["--scheme", scheme]
    if scheme in ("mqtts", "wss"):
        listen += f"?tls_certificate={certificate}&tls_key={certificate}"
        arguments += ["--cafile", str(certificate)]
    shape = ["--pubs", "3", "--subs", "2", "--topics", "1", "-q", "1", "-s", "16-90000"]
    with ServedBroker("--durability", "memory", listen=listen) as broker:
        run = bench(broker.port, *arguments, *shape, "-n", "3000", "--json")
        assert run.returncode == 0, run.stdout + run.stderr
        assert json.loads(run.stdout)["received"] == 6_000
        churn = bench(broker.port, "connect", "--insecure", *arguments, "-n", "50", "--json")
        assert churn.returncode == 0, churn.stdout + churn.stderr


def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: Path, tmp_path: Path
) -> None:
    listen = f"mqtts://127.0.0.1:0?tls_certificate={certificate}&tls_key={certificate}"
    other = tmp_path / "other.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-subj",
        "/CN=other",
        "-keyout",
        str(tmp_path / "key"),
        "-out",
        str(other),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with ServedBroker("--durability", "memory", listen=listen) as broker:
        run = bench(broker.port, "--scheme", "mqtts", "--cafile", str(other), "-n", "10")
    assert run.returncode == 2
    assert "certificate" in run.stderr


def test_the_table_is_for_eyes(port: int) -> None:
    run = bench(port, "--messages", "1000")
    assert run.returncode == 0
    assert "1,000 of 1,000" in run.stdout
    assert "latency p99" in run.stdout
    assert "\x1b" not in run.stdout


def test_losses_end_with_1(silent_port: int) -> None:
    run = bench(silent_port, "--messages", "100", "--stall", "0.2", "--json")
    assert run.returncode == 1
    report = json.loads(run.stdout)
    assert (report["lost"], report["stalled"]) == (100, True)


def test_losses_are_told(silent_port: int) -> None:
    run = bench(silent_port, "--messages", "100", "--stall", "0.2")
    assert run.returncode == 1
    assert "100 lost" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--qos", "3"], "qos"),
        (["--size", "8"], "payload_bytes"),
        (["--size", "many"], "neither a number"),
        (["--version", "6"], "version"),
        (["retained", "--threads", "2"], "threads"),
        (["-P", "secret"], "user name"),
        (["--scheme", "mqtts"], "ca_file"),
        (["--scheme", "ws", "--path", "mqtt"], "slash"),
    ],
)
def test_wrong_options_end_with_2(arguments: list[str], said: str) -> None:
    run = bench(1, *arguments)
    assert run.returncode == 2
    assert said in run.stderr


def test_no_broker_says_what_to_do() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        run = bench(silent.getsockname()[1])
    assert run.returncode == 2
    assert "noctule serve" in run.stderr


def test_interrupt_prints_what_there_was(port: int) -> None:
    command = [*BENCH, "--port", str(port), "--rate", "500", "--duration", "60", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        broker = connected(port, process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert broker
    assert process.returncode == 1
    report = json.loads(out)
    assert report["interrupted"]
    assert 0 < report["received"] < 30_000


def connected(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Waits until messages of the run arrive at a subscriber of our own."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as watcher:
        watcher.sendall(bytes.fromhex("100d 0004 4d515454 04 02 0000 0001 77"))
        watcher.sendall(b"\x82\x0b\x00\x01\x00\x06load/0\x00")
        received = b""
        while b"load/0" not in received and process.poll() is None:
            received += watcher.recv(4_096)
    return b"load/0" in received


def test_a_terminal_is_shown_the_progress(port: int) -> None:
    ours, theirs = pty.openpty()
    command = [*BENCH, "--port", str(port), "--rate", "500", "--duration", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while process.poll() is None or b"running" not in shown:
            try:
                shown += os.read(ours, 4_096)
            except OSError:
                break  # the other side of a terminal is closed
    os.close(ours)
    assert process.returncode == 0
    assert b"running" in shown
    assert b"p99" in shown
