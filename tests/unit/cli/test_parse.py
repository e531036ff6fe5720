"""Command lines of pub, sub and rr → settings."""

from pathlib import Path

import pytest

from noctule.cli.flags.help import help_text
from noctule.cli.flags.parse import parse
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.flags.table import COMMANDS, COMMON, FLAGS, flags_of
from noctule.protocol import PropertyId, Version


def test_last_of_several_counts_and_topics_add_up() -> None:
    settings = parse("sub", ["-h", "one", "-h", "two", "-t", "a", "-t", "b"])
    assert settings.host == "two"
    assert settings.topics == ["a", "b"]


def test_argument_may_begin_with_a_dash() -> None:
    settings = parse("pub", ["-m", "-5", "-t", "--", "-q", "1"])
    assert settings.message == "-5"
    assert settings.topics == ["--"]
    assert settings.qos == 1


@pytest.mark.parametrize(
    "arguments",
    [["-v", "-C", "3"], ["-vC3"], ["-vC", "3"], ["--verbose", "-C3"]],
)
def test_short_options_can_be_written_together(arguments: list[str]) -> None:
    settings = parse("sub", arguments)
    assert settings.verbose
    assert settings.count == 3


def test_long_option_with_equals() -> None:
    assert parse("sub", ["--topic=a=b"]).topics == ["a=b"]
    with pytest.raises(UsageError, match="takes no argument"):
        parse("sub", ["--verbose=yes"])


@pytest.mark.parametrize(
    ("text", "version"),
    [("5", Version.V5), ("mqttv5", Version.V5), ("311", Version.V3_1_1), ("mqttv31", Version.V3_1)],
)
def test_versions(text: str, version: Version) -> None:
    assert parse("pub", ["-V", text]).version is version


@pytest.mark.parametrize(("text", "seconds"), [("-1", 0xFFFF_FFFF), ("∞", 0xFFFF_FFFF), ("9", 9)])
def test_session_expiry(text: str, seconds: int) -> None:
    assert parse("pub", ["-x", text]).session_expiry == seconds


def test_properties_keep_packet_and_order() -> None:
    settings = parse(
        "pub",
        [
            *("-D", "publish", "user-property", "a", "b"),
            *("-D", "PUBLISH", "content-type", "text/plain"),
            *("-D", "will", "will-delay-interval", "3"),
        ],
    )
    assert settings.properties_of("publish") == [
        (PropertyId.USER_PROPERTY, ("a", "b")),
        (PropertyId.CONTENT_TYPE, "text/plain"),
    ]
    assert settings.properties_of("will") == [(PropertyId.WILL_DELAY_INTERVAL, 3)]
    assert settings.properties_of("connect") == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--tpoic", "a"], "did you mean --topic?"),
        (["-t"], "-t needs its argument: -t TOPIC"),
        (["-q", "3"], "it can be 0 to 2"),
        (["-q", "x"], "not a whole number"),
        (["-W", "soon"], "not a number"),
        (["--retain-handling", "often"], "always, new, never"),
        (["-D", "publish"], "-D needs more arguments"),
        (["-D", "publish", "will-delay-interval", "1"], "a client can set content-type"),
        (["-D", "connect", "receive-maximum", "0"], "it can be 1 to 65535"),
        (["-D", "connect", "receive-maximum", "many"], "is a whole number"),
        (["-D", "publish", "subscription-identifier", "1"], "a client can set"),
        (["-o", "/nonexistent"], "-o /nonexistent"),
    ],
)
def test_errors_say_what_would_be_right(arguments: list[str], text: str) -> None:
    command = "pub" if "publish" in arguments else "sub"
    with pytest.raises(UsageError) as raised:
        parse(command, arguments)
    assert text in str(raised.value)


def test_options_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "options"
    file.write_text("# where\n-h somewhere\n\n-t a topic with spaces\n-v\n"
                    "-D subscribe user-property 'a b' c\n")  # fmt: skip
    settings = parse("sub", ["-o", str(file), "-h", "elsewhere"])
    assert settings.host == "elsewhere"
    assert settings.topics == ["a topic with spaces"]
    assert settings.verbose
    assert settings.properties_of("subscribe") == [(PropertyId.USER_PROPERTY, ("a b", "c"))]
    file.write_text("-t a\n--nonsense\n")
    with pytest.raises(UsageError, match="line 2: there is no option --nonsense"):
        parse("sub", ["-o", str(file)])


def test_every_field_of_the_table_is_a_setting() -> None:
    for flag in FLAGS:
        assert hasattr(Settings(), flag.field), flag


@pytest.mark.parametrize("command", COMMANDS)
def test_names_are_unique_within_a_command(command: str) -> None:
    names = [name for flag in flags_of(COMMANDS[command].letter) for name in flag.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_all_options_and_short_help_the_common_ones(command: str) -> None:
    whole = help_text(command, is_whole=True)
    short = help_text(command)
    for flag in flags_of(COMMANDS[command].letter):
        assert ", ".join(flag.names) in whole
    for name in COMMON[command].split():
        assert f"  {name}" in short or f", {name}" in short
    assert short.count("\n") < 45
    assert all(len(line) <= 100 for line in whole.splitlines())
