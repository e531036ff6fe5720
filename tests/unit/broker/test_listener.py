"""Listeners: their URLs, and which of them other machines reach."""

import pytest
from pydantic import ValidationError

from noctule.broker import ExposedListenerError, Listener
from noctule.broker.exposure import refuse_exposed


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mqtt://127.0.0.1:1884", "127.0.0.1", 1884),
        ("mqtt://127.0.0.1", "127.0.0.1", 1883),
        ("mqtt://localhost:0/", "localhost", 0),
        ("mqtt://[::1]:1883", "::1", 1883),
    ],
)
def test_url_becomes_listener(url: str, host: str, port: int) -> None:
    listener = Listener.model_validate(url)
    assert (listener.scheme, listener.host, listener.port) == ("mqtt", host, port)
    assert Listener.model_validate(listener.url) == listener


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:1883",
        "http://127.0.0.1",
        "mqtt://",
        "mqtt://127.0.0.1:65536",
        "mqtt://127.0.0.1:x",
        "mqtt://127.0.0.1/path",
        "mqtt://user@127.0.0.1",
        "mqtt://127.0.0.1?allow_anonymus=true",
        "mqtt://127.0.0.1?allow_anonymous=perhaps",
    ],
)
def test_what_is_no_listener_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Listener.model_validate(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_authentication(host: str) -> None:
    refuse_exposed([Listener(host=host)])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "broker.example", "::ffff:0.0.0.0"])
def test_other_addresses_are_refused_without_authentication(host: str) -> None:
    with pytest.raises(ExposedListenerError) as caught:
        refuse_exposed([Listener(), Listener(host=host, port=1885)])
    text = str(caught.value)
    assert 'listeners = ["mqtt://127.0.0.1:1885"]' in text
    assert f'host = "{host}"' in text
    assert "allow_anonymous = true" in text


def test_what_the_refusal_says_to_write_is_accepted() -> None:
    with pytest.raises(ExposedListenerError) as caught:
        refuse_exposed([Listener(host="0.0.0.0", port=1885)])
    url = str(caught.value).rpartition("--listen ")[2].strip("'")
    refuse_exposed([Listener.model_validate(url)])
