"""The blocking client with real brokers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import noctule.client as noctule
from noctule.sync import Client, connect
from tests.integration.client.conftest import RunningBroker


def test_messages_of_every_qos_come_back(broker: RunningBroker, topic: str) -> None:
    with connect(broker.url) as client, client.subscribe(topic, qos=2) as messages:
        for qos in (0, 1, 2):
            assert client.publish(topic, f"{qos}", qos=qos).reason_code == 0
        got = []
        for message in messages:
            got.append(message.text)
            if len(got) == 3:
                break
        assert got == ["0", "1", "2"]


def test_receipts_can_be_waited_for_later(broker: RunningBroker, topic: str) -> None:
    with connect(broker.url) as client:
        receipts = [client.enqueue(topic, str(i), qos=1 + i % 2) for i in range(100)]
        receipts += [client.publish_nowait(topic) for _ in range(100)]
        for receipt in receipts:
            assert receipt.wait(30).is_settled
        assert client.outbox_size == 0


def test_several_threads_use_one_client(broker: RunningBroker, topic: str) -> None:
    with (
        connect(broker.url) as client,
        client.subscribe(f"{topic}/+", qos=1) as messages,
        ThreadPoolExecutor(8) as pool,
    ):

        def publish(number: int) -> None:
            for i in range(50):
                client.publish(f"{topic}/{number}", str(i), qos=1)

        def take(_: int) -> list[noctule.Message]:
            return [messages.next(30) for _ in range(100)]

        taking = [pool.submit(take, i) for i in range(4)]
        list(pool.map(publish, range(8)))
        got = [message for future in taking for message in future.result()]
        assert sorted((m.topic, int(m.text)) for m in got) == sorted(
            (f"{topic}/{n}", i) for n in range(8) for i in range(50)
        )


def test_handlers_may_block_and_publish(broker: RunningBroker, topic: str) -> None:
    done = threading.Event()
    client = connect(broker.url)

    @client.on(f"{topic}/in/{{name}}", qos=1)
    def echo(message: noctule.Message, name: str) -> None:
        client.publish(f"{topic}/out/{name}", message.payload, qos=1)

    @client.on(f"{topic}/out/{{name}}", qos=1)
    def finish(message: noctule.Message, name: str) -> None:
        assert name == "a"
        done.set()

    with client:
        client.publish(f"{topic}/in/a", "x", qos=1)
        assert done.wait(30)


def test_exception_in_a_handler_comes_out_of_the_block(broker: RunningBroker, topic: str) -> None:
    client = connect(broker.url)

    @client.on(topic)
    def fail(message: noctule.Message) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), client:
        client.publish(topic, "x")
        for state in client.states():
            if isinstance(state, noctule.Closed):
                break


def test_request_is_answered(broker: RunningBroker, topic: str) -> None:
    with connect(broker.url) as client:

        @client.respond(f"{topic}/{{name}}")
        def greet(message: noctule.Message, name: str) -> str:
            return f"hello {name}"

        while True:
            try:
                answer = client.request(f"{topic}/you", timeout=0.5)
            except TimeoutError:
                continue
            break
        assert answer.text == "hello you"


def test_errors_come_out_where_they_belong(broker: RunningBroker, topic: str) -> None:
    with pytest.raises(noctule.ConnectionFailedError):
        connect("mqtt://127.0.0.1:1").open()
    client = connect(broker.url)
    with pytest.raises(noctule.ClientClosedError):
        client.publish(topic)
    with client:
        with pytest.raises(noctule.InvalidTopicError):
            client.publish("a/+")
        with client.subscribe(topic) as messages, pytest.raises(TimeoutError):
            messages.next(0.05)
        assert list(messages) == []
    with pytest.raises(noctule.ClientClosedError):
        client.publish(topic)
    assert not [t for t in threading.enumerate() if t.name == "noctule client"]


def test_iteration_ends_when_another_thread_closes(broker: RunningBroker, topic: str) -> None:
    client: Client = connect(broker.url)
    client.open()
    messages = client.subscribe(topic)
    messages.open()
    threading.Timer(0.1, messages.close).start()
    assert list(messages) == []
    client.close()
    client.close()
