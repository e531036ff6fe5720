"""The package's lazy names."""

import pytest

import noctule


def test_every_public_name_is_there() -> None:
    for name in noctule.__all__:
        assert getattr(noctule, name) is not None
    assert set(noctule.__all__) <= set(dir(noctule))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Brocker'"):
        noctule.Brocker  # type: ignore[attr-defined]  # noqa: B018
