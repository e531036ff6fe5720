"""File, environment and command line become options, and later ones win."""

from pathlib import Path

import pytest

from noctule.config import Configuration, ConfigurationError, load_options


def written(folder: Path, text: str) -> Path:
    file = folder / "noctule.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_given_is_the_default() -> None:
    assert load_options() == Configuration()


def test_file_sets_options(tmp_path: Path) -> None:
    file = written(tmp_path, 'workers = 3\n[limits]\nqueue_full = "reject"\n')
    options = load_options(file)
    assert (options.workers, options.limits.queue_full) == (3, "reject")
    assert options.limits.receive_maximum == Configuration().limits.receive_maximum


def test_environment_wins_over_file_key_by_key(tmp_path: Path) -> None:
    file = written(tmp_path, "[limits]\nmax_connections = 5\nreceive_maximum = 6\n")
    options = load_options(file, {"NOCTULE__LIMITS__RECEIVE_MAXIMUM": "7", "PATH": "/bin"})
    assert (options.limits.max_connections, options.limits.receive_maximum) == (5, 7)


def test_command_line_wins_over_environment() -> None:
    assert load_options(None, {"NOCTULE__WORKERS": "2"}, {"workers": 4}).workers == 4


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("NOCTULE__WORKERS", "2", ("workers",), 2),
        ("NOCTULE__DURABILITY", "memory", ("durability",), "memory"),
        ("NOCTULE__DATA_DIR", "/var/lib/x", ("data_dir",), Path("/var/lib/x")),
        ("NOCTULE__LIMITS__QUEUE_QOS0", "true", ("limits", "queue_qos0"), True),
        ("NOCTULE__PROTOCOL__RESPONSE_INFORMATION", "1", ("protocol", "response_information"), "1"),
    ],
)
def test_environment_holds_every_kind_of_value(
    variable: str, text: str, path: tuple[str, ...], value: object
) -> None:
    found: object = load_options(None, {variable: text})
    for name in path:
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    "text",
    [
        "mqtt://127.0.0.1:1, mqtt://[::1]:2",
        '["mqtt://127.0.0.1:1", "mqtt://[::1]:2"]',
        '[{port = 1}, {host = "::1", port = 2}]',
    ],
)
def test_environment_lists_listeners(text: str) -> None:
    options = load_options(None, {"NOCTULE__LISTENERS": text})
    assert [listener.url for listener in options.listeners] == [
        "mqtt://127.0.0.1:1",
        "mqtt://[::1]:2",
    ]


def test_section_given_a_value_and_keys_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="limits cannot be 3, it is a section"):
        load_options(None, {"NOCTULE__LIMITS": "3", "NOCTULE__LIMITS__RECEIVE_MAXIMUM": "7"})


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 3_000, "a = " + "{b = " * 1_000, ".".join("a" * 400) + " = 1"],
    ids=["arrays", "tables", "dotted"],
)
def test_file_nested_without_end_is_explained(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match="levels deep in each other"):
        load_options(file)
