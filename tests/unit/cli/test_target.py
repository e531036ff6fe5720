"""URL, profile, environment and options put together."""

from pathlib import Path

import pytest

from noctule.cli.connection.session import session_options
from noctule.cli.connection.target import complete, password_of
from noctule.cli.connection.url import Url, read_url
from noctule.cli.flags.parse import parse
from noctule.cli.flags.settings import Settings, UsageError
from noctule.protocol import Version


def completed(*arguments: str, environment: dict[str, str] | None = None) -> Settings:
    settings = parse("sub", arguments)
    complete(settings, {"XDG_CONFIG_HOME": "/nonexistent"} | (environment or {}))
    return settings


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("mqtt://h/a/#", Url("mqtt", "h", topic="a/#")),
        ("mqtt://h", Url("mqtt", "h")),
        ("mqtts://u:p@h:99/t", Url("mqtts", "h", 99, "u", "p", "t")),
        ("mqtt://u@h/t", Url("mqtt", "h", None, "u", None, "t")),
        ("mqtt://u%40x:p%2Fq@h//t", Url("mqtt", "h", None, "u@x", "p/q", "/t")),
        ("mqtt://[::1]:1884/t", Url("mqtt", "::1", 1884, topic="t")),
        ("wss://h/path", Url("wss", "h", path="/path")),
        ("unix:///run/mqtt", Url("unix", path="/run/mqtt")),
    ],
)
def test_urls(text: str, url: Url) -> None:
    assert read_url(text) == url


@pytest.mark.parametrize(
    "text", ["http://h", "mqtt://", "mqtt://h:0", "mqtt://h:x", "mqtt://[::1", "unix://run"]
)
def test_wrong_urls(text: str) -> None:
    with pytest.raises(UsageError):
        read_url(text)


@pytest.mark.parametrize(
    ("arguments", "port", "tls"),
    [
        ((), 1883, False),
        (("--tls",), 8883, True),
        (("-p", "8883"), 8883, True),
        (("--cafile", "x"), 8883, True),
        (("--ws",), 8083, False),
        (("--ws", "--tls"), 8084, True),
        (("mqtts://h",), 8883, True),
        (("wss://h/x",), 8084, True),
        (("mqtts://h", "-p", "5"), 5, True),
    ],
)
def test_ports(arguments: tuple[str, ...], port: int, tls: bool) -> None:
    settings = completed(*arguments)
    assert (settings.port, settings.tls) == (port, tls)


def test_options_win_over_the_url() -> None:
    settings = completed("mqtt://a@h:1/t", "-h", "other", "-u", "b", "-t", "u")
    assert (settings.host, settings.port, settings.user_name) == ("other", 1, "b")
    assert settings.topics == ["t", "u"]


def test_two_urls_are_too_many() -> None:
    with pytest.raises(UsageError, match="one URL"):
        completed("mqtt://a", "mqtt://b")


class Profile:
    """A configuration file in a directory of its own."""

    def __init__(self, directory: Path, text: str, mode: int = 0o600) -> None:
        self.file = directory / "noctule" / "config.toml"
        self.file.parent.mkdir()
        self.file.write_text(text)
        self.file.chmod(mode)
        self.environment = {"XDG_CONFIG_HOME": str(directory)}


def test_profile_fills_in_what_was_not_said(tmp_path: Path) -> None:
    profile = Profile(
        tmp_path, 'host = "h"\nport = 9\nusername = "u"\npassword = "p"\n"protocol-version" = 5\n'
    )
    settings = completed("-p", "10", environment=profile.environment)
    assert (settings.host, settings.port, settings.user_name) == ("h", 10, "u")
    assert settings.version is Version.V5
    assert password_of(settings, profile.environment) == b"p"


def test_profile_by_name(tmp_path: Path) -> None:
    profile = Profile(
        tmp_path, 'host = "h"\n[profiles.test]\nurl = "mqtts://v@t/topic"\nclient-id = "c"\n'
    )
    text = profile.file.read_text().replace("client-id", "id")
    profile.file.write_text(text)
    for environment, arguments in (({"NOCTULE_PROFILE": "test"}, ()), ({}, ("--profile", "test"))):
        settings = completed(*arguments, environment=profile.environment | environment)
        assert (settings.host, settings.port, settings.user_name) == ("t", 8883, "v")
        assert (settings.topics, settings.client_id) == (["topic"], "c")


def test_profile_is_not_for_another_server(tmp_path: Path) -> None:
    """A password must not go to a host that it was not written down for."""
    profile = Profile(
        tmp_path,
        'host = "h"\nusername = "u"\npassword = "p"\n[profiles.p]\nusername = "v"\n',
    )
    environment = profile.environment | {"NOCTULE_PROFILE": "p"}
    for arguments in (("-h", "other"), ("mqtt://other",), ("--unix", "/x")):
        settings = completed(*arguments, environment=environment)
        assert settings.user_name is None
        assert password_of(settings, profile.environment) is None
    settings = completed("-h", "other", "--profile", "p", environment=profile.environment)
    assert (settings.host, settings.user_name) == ("other", "v")


@pytest.mark.parametrize(
    ("text", "mode", "error"),
    [
        ('hots = "h"\n', 0o600, "there is no key hots"),
        ("port = 0\n", 0o600, "port: -p 0: it can be 1 to 65535"),
        ('tls = "yes"\n', 0o600, "tls is true or false"),
        ("port = \n", 0o600, "config.toml: "),
        ('password = "p"\n', 0o644, "chmod 600"),
    ],
)
def test_wrong_profiles(tmp_path: Path, text: str, mode: int, error: str) -> None:
    profile = Profile(tmp_path, text, mode)
    with pytest.raises(UsageError) as raised:
        completed(environment=profile.environment)
    assert error in str(raised.value)


def test_unknown_profile(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        completed("--profile", "x", environment={"XDG_CONFIG_HOME": str(tmp_path)})
    profile = Profile(tmp_path, '[profiles.a]\nhost = "h"\n')
    with pytest.raises(UsageError, match="there is a"):
        completed("--profile", "x", environment=profile.environment)


def test_passwords_by_their_order(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"from file\r\nsecond line")
    environment = {"NOCTULE_PASSWORD": "from environment"}
    assert password_of(completed("-u", "u"), environment) == b"from environment"
    assert password_of(completed("-u", "u", "--password-file", str(file)), environment) == (
        b"from file"
    )
    assert password_of(completed("-u", "u", "-P", "given"), environment) == b"given"
    assert password_of(completed(), environment) is None
    profile = Profile(tmp_path, 'username = "u"\npassword = "p"\n')
    settings = completed(environment=profile.environment | environment)
    assert password_of(settings, environment) == b"from environment"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("-c",), "give one with -i"),
        (("-V", "311", "-x", "5"), "-x needs MQTT 5.0"),
        (("-V", "31", "-D", "connect", "user-property", "a", "b"), "-D needs MQTT 5.0"),
        (("--will-retain",), "--will-retain needs --will-topic"),
        (("--will-topic", "a/#"), "--will-topic: "),
        (("-D", "will", "content-type", "x"), "-D will needs --will-topic"),
    ],
)
def test_sessions_that_make_no_sense(arguments: tuple[str, ...], error: str) -> None:
    with pytest.raises(UsageError) as raised:
        session_options(completed(*arguments))
    assert error in str(raised.value)


def test_version_follows_what_is_asked_for() -> None:
    assert session_options(completed()).version is Version.V3_1_1
    assert session_options(completed(), Version.V5).version is Version.V5
    assert session_options(completed("-x", "5")).version is Version.V5
    assert session_options(completed("--retain-handling", "new")).version is Version.V5
    assert session_options(completed("-V", "31"), Version.V5).client_identifier.startswith("noct")


def test_kept_sessions_do_not_expire() -> None:
    assert session_options(completed("-c", "-i", "me")).expiry_asked == 0xFFFF_FFFF
    assert session_options(completed("-c", "-i", "me", "-x", "5")).expiry_asked == 5
    assert session_options(completed("-i", "me")).expiry_asked == 0


def test_connect_properties_become_options() -> None:
    settings = completed(
        *("-D", "connect", "receive-maximum", "7", "-D", "connect", "topic-alias-maximum", "3"),
        *("-D", "connect", "maximum-packet-size", "99", "-D", "connect", "user-property", "a", "b"),
        *("-D", "connect", "request-problem-information", "0"),
    )
    options = session_options(settings)
    assert (options.receive_maximum, options.topic_alias_maximum) == (7, 3)
    assert options.maximum_packet_size == 99
    assert options.user_properties == (("a", "b"),)
    assert not options.request_problem_information
