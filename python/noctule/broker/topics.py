"""Topic filters, as far as the broker's side of Python has to know them (MQTT 5.0 §4.7)."""

__all__ = ["check_filter", "matches"]

MAX_BYTES = 65_535


def check_filter(topic_filter: str) -> None:
    """ValueError where it is no topic filter; a shared one is none here."""
    levels = topic_filter.split("/")
    wild = any(("+" in each or "#" in each) and len(each) > 1 for each in levels)
    is_short = 0 < len(topic_filter.encode()) <= MAX_BYTES
    if wild or "#" in levels[:-1] or not is_short or "\0" in topic_filter:
        raise ValueError(f"{topic_filter!r} is no topic filter")
    if levels[0] == "$share":
        raise ValueError(f"{topic_filter!r} is shared: give the filter behind the share name")


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a valid filter matches a valid topic name."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place == len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)
