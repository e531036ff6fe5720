"""Every error names the key, the place it was written in, and what to write instead."""

from pathlib import Path

import pytest

from noctule.config import ConfigurationError, load_options


def problems(folder: Path, text: str) -> list[str]:
    file = folder / "noctule.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_options(file)
    return [str(problem).removeprefix(f"{file}, ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[limits]\nrecieve_maximum = 3\n",
            "line 2: there is no option limits.recieve_maximum; "
            "did you mean limits.receive_maximum?",
        ),
        (
            "\n\nreceive_maximum = 3\n",
            "line 3: there is no option receive_maximum; "
            "receive_maximum stands in the section [limits]",
        ),
        (
            "[limits]\nworkers = 3\n",
            "line 2: there is no option limits.workers; "
            "workers stands at the top of the file, before the first [section]",
        ),
        (
            "[[something]]\nelse = 3\n",
            "line 1: there is no option something; `noctule config` prints all there are",
        ),
        (
            'workers = "3"\n',
            'line 1: workers cannot be "3", it is a whole number; write for example workers = 0',
        ),
        (
            "limits.queue_qos0 = 1\n",
            "line 1: limits.queue_qos0 cannot be 1, it is true or false; "
            "write for example queue_qos0 = false",
        ),
        (
            "# one\n[limits]\nmax_connections = -1\n",
            "line 3: limits.max_connections is -1, which is too small; the least is 1",
        ),
        (
            "[protocol]\nmaximum_qos = 3\n",
            "line 2: protocol.maximum_qos is 3, which is too large; the most is 2",
        ),
        (
            'durability = "disc"\n',
            'line 1: durability cannot be "disc"; '
            'did you mean "disk"? It is one of "memory", "interval" or "disk"',
        ),
        (
            "workers = 1\ndurability = 'disk'\n",
            "line 2: durability `disk` keeps messages in a directory, and data_dir is not set; "
            'write data_dir = "DIRECTORY", or durability = "memory"',
        ),
        (
            "[[durability_rules]]\nfilter = 'a/#'\ndurability = 'interval'\n",
            "configuration: durability `interval` keeps messages in a directory, and data_dir is "
            'not set; write data_dir = "DIRECTORY", or durability = "memory"',
        ),
        (
            "[[durability_rules]]\nfilter = 'a/#/b'\ndurability = 'memory'\n",
            "line 2: durability_rules[0].filter: in the filter 'a/#/b' `#` does not stand alone at "
            'the end; write for example filter = "telemetry/#"',
        ),
        (
            "[[durability_rules]]\nfilter = 'a'\n",
            "line 1: durability_rules[0].durability: Field required; "
            'write for example durability = "memory"',
        ),
        (
            "listeners = []\n",
            'line 1: there is no listener; write listeners = ["mqtt://127.0.0.1:1883"]',
        ),
        (
            "workers = 1\nlisteners = [\n  'mqtt://127.0.0.1:1',\n  'http://x',\n]\n",
            "line 2: listeners[1]: the scheme of 'http://x' is not one of mqtt://, "
            "mqtts://, ws://, wss://, unix://; a listener is written mqtt://HOST:PORT",
        ),
        (
            "[[listeners]]\nport = 1\n[[listeners]]\nport = 70000\n",
            "line 4: listeners[1].port is 70000, which is too large; the most is 65535",
        ),
        (
            "limits = 3\n",
            "line 1: limits cannot be 3, it is a section; "
            "write [limits] and the section's keys below it",
        ),
        (
            "workers = 3\nworkers = tru\n",
            "line 2, column 11: this is not TOML (invalid value); "
            'a line is `key = 10`, `key = true`, `key = "text"` or `[section]`',
        ),
    ],
)
def test_problem_names_line_key_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text) == [expected]


def test_every_problem_is_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "[protocol]\nmaximum_qos = 3\n[limits]\nmax_connections = 0\nfoo = 1\n"
    assert [problem.split(":")[0] for problem in problems(tmp_path, text)] == [
        "line 2",
        "line 4",
        "line 5",
    ]


def test_lines_are_right_behind_values_of_several_lines(tmp_path: Path) -> None:
    text = '[protocol]\nresponse_information = """\n[limits]\nworkers = 1\n"""\nmaximum_qos = 9\n'
    assert problems(tmp_path, text)[0].startswith("line 6: protocol.maximum_qos is 9")


def test_environment_variable_is_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_options(None, {"NOCTULE__LISTNERS": "mqtt://127.0.0.1"})
    assert str(caught.value) == (
        "environment variable NOCTULE__LISTNERS: there is no option listners; "
        "did you mean listeners?"
    )


def test_option_of_the_command_line_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^option --listen: listeners\[0\]: .*port"):
        load_options(None, {}, {"listeners": ("mqtt://127.0.0.1:99999",)})


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read .*; `noctule config > "):
        load_options(tmp_path / "absent.toml")


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes("# Größe\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="byte 4 is not UTF-8; save the file as UTF-8"):
        load_options(file)
