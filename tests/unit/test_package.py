"""The package's lazy names."""

import inspect

import pytest

import noctule


def test_every_public_name_is_there() -> None:
    for name in noctule.__all__:
        assert getattr(noctule, name) is not None
    assert set(noctule.__all__) <= set(dir(noctule))


def test_type_checker_and_program_see_the_same_names() -> None:
    assert set(noctule.__all__) == {*noctule._EXPORTS, "__version__"}
    source = inspect.getsource(noctule)
    for name, module in noctule._EXPORTS.items():
        assert f"from {module} import {name} as {name}" in source


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Brocker'"):
        noctule.Brocker  # type: ignore[attr-defined]  # noqa: B018
