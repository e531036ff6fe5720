"""Topic filters as the broker's side of Python reads them, held to the client's own reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctule.broker.topics import check_filter, matches

LEVELS = st.sampled_from(["a", "b", "", "$x", "ab"])
NAMES = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.lists(st.one_of(LEVELS, st.just("+")), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"]), "#"])
)


def naive(wanted: list[str], levels: list[str]) -> bool:
    """By the words of MQTT 5.0 §4.7.1, one level after the other."""
    if wanted == ["#"]:
        return True
    if not wanted or not levels:
        return wanted == levels
    first, *rest = wanted
    return first in ("+", levels[0]) and naive(rest, levels[1:])


@given(FILTERS.filter(bool), NAMES)
def test_a_filter_matches_what_the_specification_says(topic_filter: str, name: str) -> None:
    wanted, levels = topic_filter.split("/"), name.split("/")
    hidden = name.startswith("$") and topic_filter[0] in "+#"
    assert matches(topic_filter, name) == (not hidden and naive(wanted, levels))


@pytest.mark.parametrize("wrong", ["", "a#", "#/a", "a/+b", "a\0", "$share/g/a", "x" * 65_536])
def test_what_is_no_filter_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"topic filter|shared"):
        check_filter(wrong)


@pytest.mark.parametrize("right", ["#", "+", "a/+/#", "/", "$SYS/#"])
def test_what_is_one_is_not(right: str) -> None:
    check_filter(right)
