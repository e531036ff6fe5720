"""AUTH and enhanced authentication. MQTT 5.0 §3.15 and §4.12.

The first half needs no authenticator. The second half runs against a broker embedded in a
Python program of the tests' own (`authenticating_broker.py`), whose method asks two
questions before it lets a client in.
"""

import sys
from pathlib import Path

import pytest

from tests.conformance import wire
from tests.conformance.brokers import MOSQUITTO, Broker, start_program
from tests.conformance.conftest import dialler
from tests.conformance.wire import Will

statement = pytest.mark.statement
MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
NOT_AUTHORIZED, BAD_METHOD = 0x87, 0x8C
CONTINUE, RE_AUTHENTICATE = 0x18, 0x19


@statement("MQTT5", "MQTT-4.12.0-1", "MQTT-3.1.4-2", "MQTT-3.2.2-8")
@pytest.mark.parametrize("data", [{}, {"authentication_data": b"x"}], ids=["bare", "data"])
def test_unknown_method_is_refused(dial, data):
    client = dial(5)
    client.send_connect(properties={"authentication_method": "no-such-method", **data})
    answer = client.expect_refusal(BAD_METHOD, NOT_AUTHORIZED)
    assert answer is None or "authentication_data" not in answer.properties


@statement("MQTT5", "MQTT-4.12.0-6", "MQTT-4.12.0-7", "MQTT-3.15.2-1")
@pytest.mark.parametrize("code", [0x00, CONTINUE, RE_AUTHENTICATE])
def test_auth_without_a_method_in_connect_is_a_protocol_error(connect, code):
    client = connect(5)
    assert "authentication_method" not in client.connack.properties
    client.send(wire.auth(code, {"authentication_method": "m"}))
    client.expect_disconnect(PROTOCOL_ERROR)


@statement("MQTT5", "MQTT-4.12.0-6")
def test_server_never_begins_with_auth_by_itself(connect):
    client = connect(5, username="user", password=b"password")
    client.expect_nothing()


@statement("MQTT5", "MQTT-3.15.1-1", "MQTT-2.1.3-1", "MQTT-4.13.1-1")
@pytest.mark.parametrize("flags", [1, 2, 4, 8])
def test_auth_with_flags_is_malformed(connect, flags):
    client = connect(5)
    client.send(wire.frame(0xF0 | flags, b"\x18\x00"))
    client.expect_disconnect(MALFORMED)


@statement("MQTT5", "MQTT-3.15.2-1", "MQTT-4.13.1-1")
@pytest.mark.parametrize("code", [0x01, 0x17, 0x80, 0xFF])
def test_auth_with_an_unknown_code_is_refused(connect, code):
    client = connect(5)
    client.send(wire.auth(code, {"authentication_method": "m"}))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


# With an authenticator

METHOD = "riddle"


@pytest.fixture(scope="module")
def riddler():
    """A broker whose clients answer two riddles: FIRST, then SECOND."""
    if MOSQUITTO:
        pytest.skip("mosquitto has no authenticator of the tests' own")
    if not hasattr(pytest.importorskip("noctule.broker"), "Challenge"):
        pytest.skip("noctule.Broker takes no authenticator yet")
    program = Path(__file__).parent / "authenticating_broker.py"
    broker = start_program([sys.executable, str(program)])
    yield broker
    broker.stop()


@pytest.fixture
def dial_riddler(riddler: Broker, clients):
    return dialler(riddler, clients)


def begin(client, data=b"first", **fields):
    client.send_connect(
        properties={"authentication_method": METHOD, "authentication_data": data}, **fields
    )


def answer(client, data, code=CONTINUE, method=METHOD, **properties):
    given = {"authentication_method": method, "authentication_data": data, **properties}
    client.send(wire.auth(code, given))


def expect_challenge(client, data):
    return client.expect(
        "AUTH", code=CONTINUE, authentication_method=METHOD, authentication_data=data
    )


@pytest.fixture
def authenticated(dial_riddler):
    """Makes a client that has gone through the whole exchange."""

    def authenticated(**fields):
        client = dial_riddler(5)
        begin(client, **fields)
        expect_challenge(client, b"what comes second?")
        answer(client, b"second")
        client.connack = client.expect("CONNACK", code=0)
        return client

    return authenticated


@statement("MQTT5", "MQTT-4.12.0-2", "MQTT-4.12.0-5", "MQTT-3.2.0-1", "MQTT-3.15.2-1")
def test_exchange_leads_to_connack(authenticated):
    client = authenticated()
    assert client.connack.properties["authentication_method"] == METHOD
    assert client.connack.properties["authentication_data"] == b"welcome"
    client.ping()


@statement("MQTT5", "MQTT-4.12.0-4", "MQTT-3.2.2-7", "MQTT-3.1.4-2")
def test_server_may_refuse_at_the_first_step(dial_riddler):
    client = dial_riddler(5)
    begin(client, b"wrong")
    client.expect_refusal(NOT_AUTHORIZED, may_just_close=False)


@statement("MQTT5", "MQTT-4.12.0-4", "MQTT-3.2.2-7")
def test_server_may_refuse_at_a_later_step(dial_riddler):
    client = dial_riddler(5)
    begin(client)
    expect_challenge(client, b"what comes second?")
    answer(client, b"third")
    client.expect_refusal(NOT_AUTHORIZED, may_just_close=False)


@statement("MQTT5", "MQTT-4.12.0-1")
def test_method_is_checked_against_the_authenticators(dial_riddler):
    client = dial_riddler(5)
    client.send_connect(properties={"authentication_method": "other"})
    client.expect_refusal(BAD_METHOD, NOT_AUTHORIZED)


@statement("MQTT5", "MQTT-4.12.0-5", "MQTT-4.13.1-1")
def test_method_cannot_change_during_the_exchange(dial_riddler):
    client = dial_riddler(5)
    begin(client)
    expect_challenge(client, b"what comes second?")
    answer(client, b"second", method="other")
    client.expect_refusal(PROTOCOL_ERROR, BAD_METHOD)


@statement("MQTT5", "MQTT-3.14.0-1", "MQTT-3.1.4-6")
@pytest.mark.parametrize(
    "packet", [wire.publish(5, "t", b"x"), wire.PINGREQ, wire.subscribe(5, 1, [("t", 0)])]
)
def test_other_packets_during_the_exchange_end_it(dial_riddler, packet):
    client = dial_riddler(5)
    begin(client)
    expect_challenge(client, b"what comes second?")
    client.send(packet)
    client.expect_refusal(PROTOCOL_ERROR)


def test_client_may_give_up_during_the_exchange(dial_riddler):
    client = dial_riddler(5)
    begin(client)
    expect_challenge(client, b"what comes second?")
    client.send(wire.disconnect(5))
    client.expect_close()


@statement("MQTT5", "MQTT-4.12.0-2", "MQTT-4.12.0-5")
def test_re_authentication_goes_on_beside_the_traffic(authenticated, topic):
    client = authenticated()
    client.subscribe(topic)
    answer(client, b"first", RE_AUTHENTICATE)
    expect_challenge(client, b"what comes second?")
    client.publish(topic, b"meanwhile")
    client.expect_message(topic, b"meanwhile")
    answer(client, b"second")
    client.expect("AUTH", code=0x00, authentication_method=METHOD)
    client.ping()


@statement("MQTT5", "MQTT-4.12.1-2", "MQTT-3.14.4-2")
def test_failed_re_authentication_closes(authenticated, topic):
    watcher = authenticated()
    watcher.subscribe(topic)
    client = authenticated(will=Will(topic, b"thrown out"))
    answer(client, b"first", RE_AUTHENTICATE)
    expect_challenge(client, b"what comes second?")
    answer(client, b"third")
    client.expect_disconnect(NOT_AUTHORIZED)
    watcher.expect_message(topic, b"thrown out")


@statement("MQTT5", "MQTT-4.12.1-2", "MQTT-4.12.0-5")
def test_re_authentication_with_another_method_closes(authenticated):
    client = authenticated()
    answer(client, b"first", RE_AUTHENTICATE, method="other")
    client.expect_disconnect(PROTOCOL_ERROR, BAD_METHOD, NOT_AUTHORIZED)


@statement("MQTT5", "MQTT-3.15.2-2", "MQTT-3.15.2-3", "MQTT-3.1.2-24", "MQTT-3.1.2-29")
def test_auth_fits_the_client_and_says_no_more_than_asked(dial_riddler):
    client = dial_riddler(5)
    client.send_connect(
        properties={
            "authentication_method": METHOD,
            "authentication_data": b"first",
            "maximum_packet_size": 60,
            "request_problem_information": 0,
        }
    )
    challenge = expect_challenge(client, b"what comes second?")
    assert challenge.size <= 60
    assert not {"reason_string", "user_property"} & set(challenge.properties)


@pytest.mark.versions(3, 4)
def test_older_clients_cannot_get_past_an_authenticator(dial_riddler, version):
    client = dial_riddler(version)
    client.send_connect(username="user", password=b"password")
    client.expect_refusal(4, 5)
