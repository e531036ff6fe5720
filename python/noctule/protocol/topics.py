"""The syntax of topic names and topic filters, MQTT 5.0 §4.7 and §4.8."""

from __future__ import annotations

from noctule.protocol._wire import encode_string
from noctule.protocol.errors import InvalidArgumentError, InvalidTopicError

__all__ = ["check_topic_filter", "check_topic_name", "filter_matches", "shared_filter"]

SHARE_PREFIX = "$share/"


def check_topic_name(topic: str) -> None:
    """InvalidTopicError unless `topic` can be published to.

    1 to 65,535 bytes of UTF-8 [MQTT-4.7.3-1] [MQTT-4.7.3-3] without U+0000 [MQTT-4.7.3-2]
    and without wildcards [MQTT-3.3.2-2].
    """
    if not topic:
        raise InvalidTopicError("a topic name has at least one character")
    if "+" in topic or "#" in topic:
        raise InvalidTopicError(f"topic name {topic!r} has wildcards; those belong to filters")
    check_encoding(topic)


def check_topic_filter(topic_filter: str) -> None:
    """InvalidTopicError unless `topic_filter` can be subscribed to, shared or not."""
    if not topic_filter:
        raise InvalidTopicError("a topic filter has at least one character")
    check_encoding(topic_filter)
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        levels = _check_share(topic_filter, levels)
    for level in levels[:-1]:
        if "#" in level:
            raise InvalidTopicError(f"{topic_filter!r}: # is the last level or none [MQTT-4.7.1-1]")
    for level in levels:
        if len(level) > 1 and ("+" in level or "#" in level):
            raise InvalidTopicError(f"{topic_filter!r}: a wildcard fills its level [MQTT-4.7.1-2]")


def _check_share(topic_filter: str, levels: list[str]) -> list[str]:
    """The levels behind the share name [MQTT-4.8.2-1] [MQTT-4.8.2-2]."""
    if len(levels) < 3 or not levels[1] or (len(levels) == 3 and not levels[2]):
        raise InvalidTopicError(f"{topic_filter!r} is not $share/NAME/FILTER")
    if "+" in levels[1] or "#" in levels[1]:
        raise InvalidTopicError(f"{topic_filter!r}: a share name has no wildcards")
    return levels[2:]


def check_encoding(name: str) -> None:
    try:
        encode_string(name)
    except InvalidArgumentError as error:
        raise InvalidTopicError(str(error)) from error


def shared_filter(topic_filter: str) -> tuple[str | None, str]:
    """The share name, or None, and the filter that topics are compared with."""
    if not topic_filter.startswith(SHARE_PREFIX):
        return None, topic_filter
    _, name, plain = topic_filter.split("/", 2)
    return name, plain


def filter_matches(topic_filter: str, topic: str) -> bool:
    """Whether a message to `topic` goes to subscribers of `topic_filter`, shared or not.

    A leading wildcard does not match topics that begin with $ (MQTT 5.0 §4.7.2).
    """
    _, plain = shared_filter(topic_filter)
    if topic.startswith("$") and plain[:1] in ("+", "#"):
        return False
    levels = topic.split("/")
    wanted = plain.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or (level not in ("+", levels[index])):
            return False
    return len(wanted) == len(levels)
