"""`noctule topics lint`."""

import json

import pytest
from click.testing import CliRunner

from noctule.cli.app import noctule
from noctule.cli.topics import lint_topic


@pytest.mark.parametrize(
    "topic", ["", "a#", "a/#/b", "+a", "$share/g", "$share/g+/a", "a\0b", "x" * 65_536]
)
def test_what_no_broker_takes_is_an_error(topic: str) -> None:
    assert [finding.severity for finding in lint_topic(topic)] == ["error"]


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        ("/a", "begins with a slash"),
        ("a/", "ends with a slash"),
        ("a//b", "empty level"),
        ("a /b", "space"),
        ("a b", "nuisance"),
        ("a/\u200bb", "cannot be seen"),
        ("küche", "ASCII"),
        ("/".join("abcdefghijk"), "11 levels"),
        ("x" * 201, "201 bytes"),
        ("$internal/a", "belong to the broker"),
        ("#", "every message"),
    ],
)
def test_what_is_unwise_is_a_warning(topic: str, text: str) -> None:
    findings = list(lint_topic(topic))
    assert {finding.severity for finding in findings} == {"warning"}
    assert text in " ".join(finding.text for finding in findings)


@pytest.mark.parametrize("topic", ["a", "a/b/+/c/#", "$share/group/a/+", "$SYS/broker/#"])
def test_nothing_to_say(topic: str) -> None:
    assert list(lint_topic(topic)) == []


def test_names_have_no_wildcards() -> None:
    assert [finding.severity for finding in lint_topic("a/+", is_name=True)] == ["error"]


def test_exit_code_and_json() -> None:
    runner = CliRunner()
    lint = ["topics", "lint"]
    assert runner.invoke(noctule, [*lint, "a"]).output == "1 checked, nothing found.\n"
    warned = runner.invoke(noctule, [*lint, "--json"], input="a/b\nA/b\n")
    assert warned.exit_code == 0
    assert json.loads(warned.output) == [
        {
            "topic": "A/b",
            "severity": "warning",
            "text": "differs from 'a/b' in upper and lower case alone",
        }
    ]
    assert runner.invoke(noctule, [*lint, "a#"]).exit_code == 1
