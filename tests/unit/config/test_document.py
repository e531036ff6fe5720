"""The default configuration and the reference page are complete and can be read back."""

import re
import tomllib
from pathlib import Path

from noctule.config import (
    Configuration,
    configuration_reference,
    default_configuration,
    load_options,
)
from noctule.config.schema import all_keys, dotted, is_list, section_of


def test_default_configuration_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "noctule.toml"
    file.write_text(default_configuration(), encoding="utf-8")
    assert load_options(file) == Configuration()


def test_default_configuration_stays_right_with_every_line_uncommented(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", default_configuration(), flags=re.MULTILINE)
    assert set(tomllib.loads(text)) == set(Configuration.model_fields)


def test_every_option_is_printed_with_a_comment() -> None:
    lines = default_configuration().splitlines()
    for path, field in all_keys():
        if path[:-1] in (("listeners",), ("durability_rules",), ("plugins",), ("access", "rules")):
            continue
        is_section = section_of(field) is not None and not is_list(field)
        start = f"[{dotted(path)}]" if is_section else f"{path[-1]} ="
        found = [number for number, line in enumerate(lines) if line.lstrip("# ").startswith(start)]
        assert found, path
        assert lines[found[0] - 1].startswith("# "), path


def test_lines_fit_a_terminal() -> None:
    assert max(map(len, default_configuration().splitlines())) <= 100


def test_reference_names_every_option() -> None:
    page = configuration_reference()
    for path, field in all_keys():
        assert field.description, path
        assert f"`{path[-1]}`" in page or f"`[{dotted(path)}]`" in page, path
