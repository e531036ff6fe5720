"""Options are strict, and the engine takes what they make."""

import json
from pathlib import Path
from typing import get_type_hints

import pytest
from pydantic import ValidationError

from noctule._engine import Engine
from noctule.broker import BrokerOptions, Limits, ProtocolOptions
from noctule.broker.broker import OptionKeywords


def test_engine_takes_the_defaults() -> None:
    assert not Engine(BrokerOptions().engine_json()).is_running


@pytest.mark.parametrize("options", [Limits, ProtocolOptions])
def test_engine_knows_every_option(options: type[Limits] | type[ProtocolOptions]) -> None:
    section = "limits" if options is Limits else "protocol"
    for name in options.model_fields:
        fields = json.loads(BrokerOptions().engine_json())
        fields[section][f"{name}_"] = fields[section].pop(name)
        with pytest.raises(ValueError, match=f"{name}_"):
            Engine(json.dumps(fields))


@pytest.mark.parametrize("bound", ["ge", "le"])
def test_engine_takes_both_ends_of_every_range(bound: str) -> None:
    for section, options in (("limits", Limits), ("protocol", ProtocolOptions)):
        for name, field in options.model_fields.items():
            limits = [getattr(m, bound) for m in field.metadata if hasattr(m, bound)]
            for limit in limits:
                accepted = BrokerOptions.model_validate({section: {name: limit}})
                Engine(accepted.engine_json())


@pytest.mark.parametrize(
    ("fields", "durability"),
    [
        ({}, "memory"),
        ({"data_dir": "/var/lib/noctule"}, "disk"),
        ({"data_dir": "/var/lib/noctule", "durability": "interval"}, "interval"),
        ({"data_dir": Path("/var/lib/noctule"), "durability": "memory"}, "memory"),
    ],
)
def test_durability_is_disk_where_there_is_a_directory(
    fields: dict[str, object], durability: str
) -> None:
    options = BrokerOptions.model_validate(fields)
    assert json.loads(options.engine_json())["durability"] == durability


def test_engine_takes_rules_and_listeners_of_a_durability() -> None:
    listeners = ["mqtt://127.0.0.1:0?durability=memory", "mqtt://127.0.0.1:0"]
    rules = [{"filter": "telemetry/#", "durability": "memory"}]
    options = BrokerOptions.model_validate(
        {"data_dir": "/var/lib/noctule", "listeners": listeners, "durability_rules": rules}
    )
    fields = json.loads(options.engine_json())
    assert [each.get("durability") for each in fields["listeners"]] == ["memory", None]
    assert fields["durability_rules"] == rules
    Engine(options.engine_json())


@pytest.mark.parametrize(
    "fields",
    [
        {"durability_rules": [{"filter": "a/b#", "durability": "memory"}]},
        {"durability_rules": [{"filter": "a/+b", "durability": "memory"}]},
        {"durability_rules": [{"filter": "", "durability": "memory"}]},
        {"durability_rules": [{"filter": "$share/g/a", "durability": "memory"}]},
        {"durability_rules": [{"filter": "a", "durability": "disk"}]},
        {"listeners": [{"durability": "disk"}]},
        {"workers": "2"},
        {"workers": True},
        {"wrokers": 2},
        {"listeners": []},
        {"durability": "disk"},
        {"limits": {"receive_maximum": 0}},
        {"limits": {"receive_maximum": 65_536}},
        {"protocol": {"retain_available": 1}},
    ],
)
def test_wrong_options_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BrokerOptions.model_validate(fields)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        BrokerOptions().workers = 3


def test_keyword_arguments_are_the_options() -> None:
    assert set(get_type_hints(OptionKeywords)) == set(BrokerOptions.model_fields)
