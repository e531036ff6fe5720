"""Hooks in the present tense, asked without an engine."""

import asyncio
import logging
from dataclasses import replace

import pytest

from noctule.broker import PublishRequest, Refuse
from noctule.broker.consultant import changes_of
from noctule.broker.present import PresentHooks, Registered

MESSAGE = PublishRequest(
    client="c",
    user=None,
    is_will=False,
    topic="a",
    payload=b"x",
    qos=1,
    retain=False,
    message_expiry_seconds=None,
    payload_is_text=False,
    content_type=None,
    response_topic=None,
    correlation_data=None,
    user_properties=[],
)


def hooks(timeout_seconds: float = 5.0) -> PresentHooks:
    return PresentHooks(timeout_seconds)


async def to_b(message: PublishRequest) -> PublishRequest:
    return replace(message, topic="b")


async def refuse(message: PublishRequest) -> Refuse:
    return Refuse(0x99)


async def hang(message: PublishRequest) -> None:
    await asyncio.Event().wait()


async def test_each_hook_sees_what_the_one_before_left_where_its_filter_matches() -> None:
    chain = [Registered(to_b, topic_filter="a"), Registered(refuse, topic_filter="a")]
    answer = await hooks().pass_through(chain, MESSAGE, "a test")
    assert answer == replace(MESSAGE, topic="b")
    chain.append(Registered(refuse, topic_filter="b"))
    assert await hooks().pass_through(chain, MESSAGE, "a test") == Refuse(0x99)


async def test_late_hook_has_refused_or_let_be_and_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    present = hooks(0.01)
    assert await present.pass_through([Registered(hang)], MESSAGE, "a test") == Refuse(0x83)
    answer = await present.pass_through([Registered(hang, fail_open=True)], MESSAGE, "a test")
    assert answer == MESSAGE
    assert present.failures == {"hang": 2}
    assert "gave no answer about a test" in caplog.text


async def test_hook_that_returns_something_else_has_refused() -> None:
    async def wrong(message: PublishRequest) -> str:
        return "yes"

    assert await hooks().pass_through([Registered(wrong)], MESSAGE, "a test") == Refuse(0x83)


async def test_error_that_may_hold_a_secret_is_not_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leak(request: object) -> None:
        raise RuntimeError("hunter2")

    with pytest.raises(Exception, match="leak"):
        await hooks().call(Registered(leak), MESSAGE, "a test", secret=True)
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


def test_only_what_differs_goes_back_and_properties_as_a_whole() -> None:
    assert changes_of(MESSAGE, MESSAGE) == {}
    assert changes_of(MESSAGE, replace(MESSAGE, qos=0)) == {"qos": 0}
    changes = changes_of(MESSAGE, replace(MESSAGE, content_type="t"))
    assert changes["properties"]["content_type"] == "t"
    assert changes["properties"]["user_properties"] == []
