"""Rows D13 and D14 of the catalogue: the broker is killed, and its disk cannot be relied on."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.conformance import brokers
from tests.conformance.brokers import Options
from tests.conformance.wire import Client
from tests.durability.torture import Torture
from tests.hostile.damaged_store import KEEPER, KEPT_TOPICS, NEVER, Found, damaged_files
from tests.hostile.siege import besieged, size
from tests.hostile.witness import ROOT, Witness

hostile = pytest.mark.hostile
pytestmark = pytest.mark.skipif(brokers.MOSQUITTO, reason="about the store of this project")

SHIM = ROOT / "crates" / "store" / "tests" / "shim" / "disk.c"
DISK_BYTES = 40 << 20
ROOM_SECONDS = 20.0


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A disk that can be full or read-only, for LD_PRELOAD."""
    library = tmp_path_factory.mktemp("shim") / "disk.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM)]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return library


@contextmanager
def serving(data, **environment):
    """A broker with its store in `data`."""
    arguments = ("--data-dir", str(data), "--durability", "disk", "--workers", "2")
    broker = brokers.start(Options(), *arguments, environment=environment)
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def witnessed(broker, clients):
    """The four conditions on a broker of the test's own."""
    witness = Witness(broker.address, broker.pid)
    try:
        with besieged(broker, witness, clients) as siege:
            yield siege
    finally:
        witness.stop()


def keeper_of(siege, **fields):
    """The session that must be kept."""
    return siege.connect(5, KEEPER, persistent=True, **fields)


@hostile("D13")
@pytest.mark.timeout(60 + size(5, 200) * 15)
def test_killed_while_publishing(tmp_path, clients):
    """Torture's clients come back after each kill and count; the last broker is as ever."""
    torture = Torture(tmp_path / "data", "disk", seed=13)
    torture.run(size(5, 200))
    assert torture.delivered > 0
    with serving(tmp_path / "data") as broker, witnessed(broker, clients) as siege:
        subscriber = keeper_of(siege)
        subscriber.subscribe("behind", qos=2)
        siege.connect().publish("behind", b"as ever", 2)
        subscriber.expect_message("behind", b"as ever")


@hostile("D14")
def test_disk_is_full_for_a_while(tmp_path, clients, shim):
    disk = {"NOCTULE_DISK": str(tmp_path), "NOCTULE_DISK_ROOM": str(DISK_BYTES)}
    ballast, data, kept = tmp_path / "ballast", tmp_path / "data", []
    with serving(data, LD_PRELOAD=str(shim), **disk) as broker:
        with witnessed(broker, clients) as siege:
            keeper = keeper_of(siege)
            keeper.subscribe("full", qos=1)
            keeper.disconnect()
            publisher = siege.connect()
            keep_until(publisher, lambda code: len(kept) == 20, kept)
            with ballast.open("w") as file:
                file.truncate(DISK_BYTES - sum(size_of(path) for path in data.iterdir()))
            keep_until(publisher, lambda code: code == 0x97, kept)
            assert siege.watch("anybody", qos=0)
            ballast.unlink()
            keep_until(publisher, lambda code: code == 0, kept)
        assert len([line for line in broker.log if "disk is full" in line]) == 1, broker.log
        assert len([line for line in broker.log if "well again" in line]) == 1, broker.log
        broker.process.kill()
    with serving(data) as broker, witnessed(broker, clients) as siege:
        keeper = keeper_of(siege)
        assert keeper.connack.session_present
        assert [int(message.payload) for message in keeper.messages(len(kept))] == kept
        keeper.expect_nothing()


def size_of(path):
    """What the shim counts of a file: shared memory is none of the disk's."""
    return 0 if path.name.endswith("-shm") else path.stat().st_size


def keep_until(publisher, is_over, kept):
    """Publish numbers until an answer is the awaited one; `kept` gets those acknowledged."""
    deadline = time.monotonic() + ROOM_SECONDS
    while time.monotonic() < deadline:
        number = kept[-1] + 1 if kept else 0
        code = publisher.publish("full", b"%d" % number + b" " * 60_000, 1)
        if code == 0:
            kept.append(number)
        else:
            assert code == 0x97
        if is_over(code):
            return
    raise AssertionError("the disk makes no difference")


@hostile("D14")
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "old"])
def test_store_that_may_not_be_written(tmp_path, shim, is_new):
    data = tmp_path / "data"
    if not is_new:
        with serving(data):
            pass
    disk = {"NOCTULE_DISK": str(tmp_path), "NOCTULE_DISK_READ_ONLY": "1"}
    with pytest.raises(RuntimeError) as refusal:
        serving(data, LD_PRELOAD=str(shim), **disk).__enter__()
    said = str(refusal.value).splitlines()[1:]
    assert len(said) == 1, said
    assert "cannot start" in said[0]
    assert str(data) in said[0]
    assert "Read-only" in said[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A small store with a session, its queue and retained messages, and what is in it."""
    data = tmp_path_factory.mktemp("store") / "data"
    whole = Found("", 0, session_present=True)
    with serving(data) as broker:
        with Client(broker.address, client_id=KEEPER) as keeper:
            keeper.connect(clean=False, session_expiry_interval=NEVER)
            keeper.subscribe(KEPT_TOPICS, qos=1)
        with Client(broker.address, client_id="publisher") as publisher:
            publisher.connect()
            for number in range(12):
                topic, payload = f"kept/{number}", f"{number} " * 20
                publisher.publish(topic, payload.encode(), 1, retain=number % 2 == 0)
                whole.queued.append(payload)
                if number % 2 == 0:
                    whole.retained[topic] = payload
    return data, whole


@hostile("D14")
@pytest.mark.timeout(size(120, 3_600))
def test_each_byte_of_a_small_store_flipped(tmp_path, store):
    """At full size every byte, else every 211th: what is served is true or missed aloud."""
    data, whole = store
    step = size(211, 1)
    command = [sys.executable, "-m", "tests.hostile.damaged_store"]
    command += [str(data), str(tmp_path / "scratch"), str(step)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [Found(**json.loads(line)) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, f"ended behind {found[-1:]}: {ran.stderr}"
    assert len(found) == sum(-(-path.stat().st_size // step) for path in damaged_files(data))
    for one in found:
        judge(one, whole)
    assert any(one.log for one in found), "no flip hit anything"


def judge(found, whole):
    """Refused with a word, or nothing wrong served, and nothing missing without a word."""
    if found.refused:
        assert "\n" not in found.refused, found
        return
    assert found.retained.items() <= whole.retained.items(), found
    assert set(found.queued) <= set(whole.queued), found
    is_whole = (found.session_present, found.queued, found.retained) == (
        (True, whole.queued, whole.retained)
    )
    assert is_whole or found.log, f"something is missing, and nothing was said: {found}"
    assert len(found.log) <= 10, found


@hostile("D14")
def test_damaged_store_is_served_as_far_as_it_goes(tmp_path, clients, store):
    data, whole = store
    damaged = tmp_path / "damaged"
    shutil.copytree(data, damaged)
    database = max(damaged_files(damaged), key=lambda path: path.stat().st_size)
    content = database.read_bytes()
    at = content.index(whole.queued[5].encode())
    database.write_bytes(content[:at] + b"X" + content[at + 1 :])
    with serving(damaged) as broker:
        with witnessed(broker, clients) as siege:
            reader = siege.connect()
            reader.subscribe(KEPT_TOPICS)
            retained = {}
            for _ in whole.retained:
                message = reader.expect("PUBLISH")
                retained[message.topic] = message.payload.decode()
            assert retained == whole.retained
            left = keeper_of(siege).messages(len(whole.queued) - 1)
            expected = whole.queued[:5] + whole.queued[6:]
            assert [message.payload.decode() for message in left] == expected
        assert any("damage in the store" in line for line in broker.log), broker.log
