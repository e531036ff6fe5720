"""Plug-ins: other people's hooks and taps, by name.

A plug-in is a module, or what an entry point of the group `noctule.plugins` names, with a function

    def setup(broker: Broker, options: dict[str, Any]) -> None:

that registers hooks and taps. It may return an asynchronous context manager, which is entered once
the broker has started and left before it stops.
"""

import importlib
import importlib.util
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from noctule.broker.errors import PluginError

if TYPE_CHECKING:
    from noctule.broker.broker import Broker

__all__ = ["ENTRY_POINTS", "Plugin", "Plugins"]

ENTRY_POINTS = "noctule.plugins"

Setup = Callable[["Broker", dict[str, Any]], AbstractAsyncContextManager[object] | None]

logger = logging.getLogger("noctule.plugins")


class Plugin(BaseModel):
    """A plug-in; the other keys are its own options."""

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, use_attribute_docstrings=True
    )

    module: Annotated[str, Field(min_length=1, examples=["noctule_archive"])]
    """What is loaded: the name of an entry point in the group `noctule.plugins`, of a module, or
    the path of a file that ends with `.py`."""

    required: bool = True
    """Whether the broker refuses to start where it cannot be loaded; else that is logged."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"module": value} if isinstance(value, str) else value

    @property
    def own_options(self) -> dict[str, Any]:
        """The options that are not ours."""
        return dict(self.model_extra or {})


class Plugins:
    """The plug-ins of one broker."""

    def __init__(self, wanted: Iterable[Plugin]) -> None:
        self._wanted = tuple(wanted)
        self._contexts: list[tuple[Plugin, AbstractAsyncContextManager[object]]] = []
        self._entered = AsyncExitStack()

    def set_up(self, broker: "Broker") -> None:
        """Let each register its hooks; PluginError for a required one that fails.

        Of one that fails nothing stays registered.
        """
        for plugin in self._wanted:
            before = broker.registered()
            try:
                context = setup_of(plugin.module)(broker, plugin.own_options)
            except Exception as error:
                broker.restore_registered(before)
                self._fail(plugin, "cannot be set up", error)
                continue
            if context is not None:
                self._contexts.append((plugin, context))

    async def start(self) -> None:
        """Enter what the plug-ins returned."""
        for plugin, context in self._contexts:
            try:
                await self._entered.enter_async_context(context)
            except Exception as error:
                self._fail(plugin, "cannot start", error)

    async def stop(self) -> None:
        """Leave it; an error is logged."""
        try:
            await self._entered.aclose()
        except Exception:
            logger.exception("a plug-in failed as it stopped")

    def _fail(self, plugin: Plugin, what: str, error: Exception) -> None:
        if plugin.required:
            raise PluginError(
                f"the plug-in {plugin.module!r} {what}: {type(error).__name__}: {error}; "
                "where the broker should start without it, say required = false"
            ) from error
        logger.error("the plug-in %r %s", plugin.module, what, exc_info=error)


def setup_of(name: str) -> Setup:
    """The function that sets the plug-in up."""
    found = entry_points(group=ENTRY_POINTS, name=name)
    loaded: Any = next(iter(found)).load() if found else module_of(name)
    setup = loaded if callable(loaded) else getattr(loaded, "setup", None)
    if not callable(setup):
        raise TypeError(f"{name} has no function setup(broker, options)")
    return setup  # type: ignore[no-any-return]


def module_of(name: str) -> ModuleType:
    """A module by its name, or from a file."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    file = Path(name).resolve()
    spec = importlib.util.spec_from_file_location(f"noctule_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
