"""What a message says about itself besides its topic and payload (MQTT 5.0 §3.3.2.3)."""

from collections.abc import Sequence
from typing import TypedDict

__all__ = ["MessageProperties"]


class MessageProperties(TypedDict, total=False):
    """Properties of a message of the broker's own, as keyword arguments."""

    message_expiry_seconds: int
    payload_is_text: bool
    content_type: str
    response_topic: str
    correlation_data: bytes
    user_properties: Sequence[tuple[str, str]]
