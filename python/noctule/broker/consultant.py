"""Takes the engine's questions to the hooks, and their answers back, both in batches."""

import asyncio
import logging
from dataclasses import fields
from typing import Any, Protocol

from noctule.broker.authentication import Refuse
from noctule.broker.events import readable
from noctule.broker.present import PresentHooks
from noctule.broker.requests import (
    AccessRequest,
    PublishRequest,
    RequestedSubscription,
    SubscribeRequest,
)

__all__ = ["Consultant"]

BATCH = 256
# The engine gives up later than we do, so that it is we who say which hook it was.
PATIENCE_SECONDS = 2.0

logger = logging.getLogger("noctule.hooks")

Reply = tuple[int, int, dict[str, Any]]


class Source(Protocol):
    """The part of the engine that asks."""

    def set_hooks(
        self,
        *,
        connect: bool,
        authenticate: bool,
        subscribe: bool,
        publish: list[str],
        authorize: bool,
        timeout_seconds: float,
    ) -> None:
        """Ask these hooks."""

    def consultation_fd(self) -> int:
        """A descriptor that is readable while questions wait, and after the end."""

    def next_consultations(
        self, timeout_seconds: float | None, maximum: int = 1024
    ) -> list[dict[str, Any]] | None:
        """Questions, oldest first; None once the engine has stopped."""

    def advise(self, answers: list[Reply]) -> None:
        """Answer them."""


class Consultant:
    """Answers every question of the engine, from `start` until the engine has stopped."""

    def __init__(self, source: Source, hooks: PresentHooks) -> None:
        self._source = source
        self._hooks = hooks
        self._task: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._answers: list[Reply] = []

    def announce(self) -> None:
        """Tell the engine what it is to ask about; before it starts."""
        hooks = self._hooks
        count = max(map(len, (hooks.subscribe, hooks.publish, hooks.authorize)))
        self._source.set_hooks(
            connect=hooks.wants_connects,
            authenticate=bool(hooks.authenticate),
            subscribe=bool(hooks.subscribe),
            publish=[each.topic_filter for each in hooks.publish],
            authorize=bool(hooks.authorize),
            timeout_seconds=max(count, 1) * hooks.timeout_seconds + PATIENCE_SECONDS,
        )

    def start(self) -> None:
        """Begin to answer; needs a running event loop that can watch a descriptor."""
        self._task = asyncio.create_task(self._answer_all())

    async def finished(self) -> None:
        """Wait until the engine has stopped; what is still being answered is given up."""
        if self._task is None:
            return
        await asyncio.wait([self._task])
        answering = tuple(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def _answer_all(self) -> None:
        while (questions := self._source.next_consultations(0.0, BATCH)) is not None:
            for question in questions:
                task = asyncio.create_task(self._answer(question))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            if questions:
                await asyncio.sleep(0)
            else:
                await readable(self._source.consultation_fd())

    async def _answer(self, question: dict[str, Any]) -> None:
        try:
            answer = await self._decide(question)
        except Exception:
            logger.exception("no answer about client %r", question["client"])
            answer = {}
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._send)
        self._answers.append((question["worker"], question["number"], answer))

    def _send(self) -> None:
        """Hand in what has been answered since the loop's last round."""
        answers, self._answers = self._answers, []
        try:
            self._source.advise(answers)
        except (ValueError, TypeError, OverflowError):
            for worker, number, answer in answers:
                self._send_one(worker, number, answer)

    def _send_one(self, worker: int, number: int, answer: dict[str, Any]) -> None:
        try:
            self._source.advise([(worker, number, answer)])
        except (ValueError, TypeError, OverflowError) as error:
            logger.error("a hook's answer is none, so it counts as no: %s", error)
            self._source.advise([(worker, number, {})])

    async def _decide(self, question: dict[str, Any]) -> dict[str, Any]:
        match question["kind"]:
            case "publish":
                return await self._decide_publish(question)
            case "subscribe":
                return await self._decide_subscribe(question)
            case _:
                return await self._decide_access(question)

    async def _decide_publish(self, question: dict[str, Any]) -> dict[str, Any]:
        asked = PublishRequest(**{name: question[name] for name in MESSAGE_FIELDS})
        about = f"PUBLISH of client {asked.client!r} to {asked.topic!r}"
        answer = await self._hooks.pass_through(self._hooks.publish, asked, about)
        if isinstance(answer, Refuse):
            return {"refuse": answer.reason_code}
        return {"changes": changes_of(asked, answer)}

    async def _decide_subscribe(self, question: dict[str, Any]) -> dict[str, Any]:
        client, user = question["client"], question["user"]
        wanted = tuple(RequestedSubscription(*each) for each in question["filters"])
        asked = SubscribeRequest(client, user, wanted)
        about = f"SUBSCRIBE of client {client!r}"
        answer = await self._hooks.pass_through(self._hooks.subscribe, asked, about)
        if isinstance(answer, Refuse):
            return {"refuse": answer.reason_code}
        names = [each.filter for each in answer.subscriptions]
        if names != [each.filter for each in wanted]:
            raise ValueError("a hook may not change which filters are subscribed to")
        return {
            "granted": [
                each.qos if each.reason_code is None else each.reason_code
                for each in answer.subscriptions
            ]
        }

    async def _decide_access(self, question: dict[str, Any]) -> dict[str, Any]:
        client, user = question["client"], question["user"]
        accesses = [AccessRequest(client, user, *each) for each in question["accesses"]]
        return {"allowed": [await self._hooks.may(each) for each in accesses]}


MESSAGE_FIELDS = tuple(each.name for each in fields(PublishRequest))
PLAIN_FIELDS = ("topic", "payload", "qos", "retain")
PROPERTY_FIELDS = (
    "message_expiry_seconds",
    "payload_is_text",
    "content_type",
    "response_topic",
    "correlation_data",
    "user_properties",
)


def changes_of(asked: PublishRequest, answer: PublishRequest) -> dict[str, Any]:
    """What differs; the properties are given as a whole where any of them does."""
    changes: dict[str, Any] = {
        name: getattr(answer, name)
        for name in PLAIN_FIELDS
        if getattr(answer, name) != getattr(asked, name)
    }
    properties = {name: getattr(answer, name) for name in PROPERTY_FIELDS}
    if any(value != getattr(asked, name) for name, value in properties.items()):
        changes["properties"] = properties
    return changes
