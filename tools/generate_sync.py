"""Writes the blocking client, ``python/noctule/sync``, from the asyncio client's source.

Every public method of the asyncio classes gets a blocking one of the same name, with the
same arguments and documentation, that runs it in the client's own event loop and waits.
The text goes through ruff's formatter, which has to be installed.
With ``--check`` nothing is written, and the exit status is 1 if the files have drifted.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "python" / "noctule" / "client"
TARGET = ROOT / "python" / "noctule" / "sync"

HEAD = '''\
"""{title}

Generated from ``noctule/client/{source}`` by ``tools/generate_sync.py``; change that.
"""

from __future__ import annotations

{imports}

__all__ = {names}
'''


@dataclass(frozen=True)
class Unit:
    """One class: where it comes from, what it is based on, and what is written by hand."""

    name: str
    source: str
    title: str
    base: str
    imports: str
    by_hand: frozenset[str]


UNITS = (
    Unit(
        name="Receipt",
        source="receipt.py",
        title="What publishing gives back, for programs without an event loop.",
        base="Wrapper[AsyncReceipt]",
        imports="""\
import asyncio

from noctule.client.receipt import Receipt as AsyncReceipt
from noctule.protocol._tables import ReasonCode
from noctule.sync._portal import Wrapper""",
        by_hand=frozenset({"__init__", "__await__", "result", "__repr__"}),
    ),
    Unit(
        name="Subscription",
        source="subscription.py",
        title="Messages of some filters, for programs without an event loop.",
        base="Queue",
        imports="""\
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from noctule.protocol._tables import ReasonCode
from noctule.protocol.message import Message
from noctule.sync._portal import Queue""",
        by_hand=frozenset({"__init__", "__len__", "__anext__", "next", "take"}),
    ),
    Unit(
        name="Client",
        source="client.py",
        title="The client for programs without an event loop.",
        base="Wrapper[AsyncClient]",
        imports="""\
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack

from noctule.client.client import Client as AsyncClient
from noctule.client._handlers import Handler, Responder
from noctule.client.options import ClientOptions, ConnectArguments, MessageProperties, Payload
from noctule.client.states import State
from noctule.client.subscription import Overflow
from noctule.protocol.message import Message
from noctule.protocol.options import Granted
from noctule.protocol.packets import Version
from noctule.sync._portal import Portal, Wrapper
from noctule.sync.receipt import Receipt
from noctule.sync.subscription import Subscription

_Handler = TypeVar("_Handler", bound=Handler)""",
        by_hand=frozenset({"__init__", "open", "close", "__aenter__", "__aexit__"}),
    ),
)

BY_HAND = {
    "Receipt": '''
    def wait(self, timeout: float | None = None) -> Receipt:
        """Waits for the server's answer; TimeoutError if there is none in `timeout` seconds.

        Returns the receipt itself, or raises what `result` does. To stop waiting takes
        nothing back: the message stays on its way.
        """

        async def answered() -> None:
            async with asyncio.timeout(timeout):
                await self._wrapped

        self._portal.call(answered())
        return self

    @property
    def reason_code(self) -> ReasonCode | None:
        """What the server has answered; None as long as it has not."""
        return self._wrapped.reason_code

    @property
    def error(self) -> Exception | None:
        """Why there will be no answer."""
        return self._wrapped.error

    @property
    def is_settled(self) -> bool:
        """Whether it is over, well or not."""
        return self._wrapped.is_settled

    def result(self) -> Receipt:
        """The receipt itself if all is well, or the error that waiting would raise."""
        self._wrapped.result()
        return self

    def __repr__(self) -> str:
        return repr(self._wrapped)
''',
    "Subscription": "",
    "Client": '''
    def __init__(self, url: str = "mqtt://localhost", options: ClientOptions | None = None) -> None:
        super().__init__(Portal(), AsyncClient(url, options))

    def open(self) -> None:
        """Connects, and subscribes what handlers have been registered.

        Waits for the first connection, and raises ConnectionFailedError or
        ConnectionRefusedByServerError if the first attempt fails; with
        `require_connection=False` it returns at once and goes on trying.
        """
        self._portal.start()
        try:
            self._portal.call(self._wrapped.open())
        except BaseException:
            self._portal.stop()
            raise

    def close(self) -> None:
        """Sends what is on its way, disconnects and ends all iterations.

        Waits `close_timeout` seconds at most for the server's acknowledgements; what is
        not settled by then stays in an outbox on disk, and is lost in one in memory.
        """
        if not self._portal.is_running:
            return
        try:
            self._portal.call(self._wrapped.close())
        finally:
            self._portal.stop()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        failure = self._wrapped.failure
        if failure is not None and exception is None:
            raise failure
''',
}

# How the result of a method is handed over, by its annotation.
RESULTS = {
    "Receipt": "Receipt(self._portal, {})",
    "Subscription": "Subscription(self._portal, {})",
    "AsyncIterator[State]": "self._portal.iterate({})",
}
NAMES = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__"}
IN_LOOP = {"publish_nowait", "acknowledge"}
"""Plain methods that touch the connection, and so have to run in its event loop."""


def generate(unit: Unit) -> str:
    """The module of one class."""
    tree = ast.parse((SOURCE / unit.source).read_text(encoding="utf-8"))
    class_node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == unit.name)
    names = [unit.name] + (["connect"] if unit.name == "Client" else [])
    parts = [
        HEAD.format(
            title=unit.title,
            source=unit.source,
            imports=unit.imports,
            names="[" + ", ".join(f'"{name}"' for name in sorted(names)) + "]",
        )
    ]
    if unit.name == "Client":
        parts.append(_connect(tree))
    parts.append(f"class {unit.name}({unit.base}):\n{_docstring(class_node, 4)}")
    if BY_HAND[unit.name]:
        parts[-1] += BY_HAND[unit.name].rstrip("\n") + "\n"
    for method in _public_methods(class_node, unit.by_hand):
        parts[-1] += "\n" + _method(method)
    text = "\n\n".join(part.rstrip("\n") + "\n" for part in parts)
    return _formatted(text, TARGET / unit.source)


def _connect(tree: ast.Module) -> str:
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "connect")
    return (
        _signature(function, "connect", 0)
        + _docstring(function, 4)
        + "    return Client(url, ClientOptions(**options))\n"
    )


def _public_methods(
    node: ast.ClassDef, by_hand: frozenset[str]
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for item in node.body:
        if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) or item.name in by_hand:
            continue
        if not item.name.startswith("_") or item.name in NAMES:
            yield item


def _method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    name = NAMES.get(node.name, node.name)
    decorators = "".join(f"    @{ast.unparse(d)}\n" for d in node.decorator_list)
    head = decorators + _signature(node, name, 4) + _docstring(node, 8)
    return head + textwrap.indent(_body(node), " " * 8)


def _body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    target = f"self._wrapped.{node.name}"
    returns = ast.unparse(node.returns) if node.returns is not None else "None"
    if node.decorator_list:
        return f"return {target}\n"
    if node.name == "__aenter__":
        return "self.open()\nreturn self\n"
    if node.name == "__aexit__":
        return "self.close()\n"
    if node.name == "__aiter__":
        return "return self\n"
    if node.name in ("on", "respond"):
        return _decorator(node, target)
    arguments = ", ".join(_arguments(node))
    if isinstance(node, ast.AsyncFunctionDef):
        value = f"self._portal.call({target}({arguments}))"
    elif node.name in IN_LOOP:
        value = f"self._portal.run({target}{', ' if arguments else ''}{arguments})"
    else:
        value = f"{target}({arguments})"
    if returns == "None":
        return value + "\n"
    return f"return {RESULTS.get(returns, '{}').format(value)}\n"


def _decorator(node: ast.FunctionDef | ast.AsyncFunctionDef, target: str) -> str:
    """Handlers of a blocking client may block: they run in threads."""
    kind = "_Handler" if node.name == "on" else "Responder"
    arguments = ", ".join(_arguments(node))
    return (
        f"register = {target}({arguments})\n\n"
        f"def in_thread(handler: {kind}) -> {kind}:\n"
        "    self._portal.register(register, handler)\n"
        "    return handler\n\n"
        "return in_thread\n"
    )


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    arguments = node.args
    for argument in (*arguments.posonlyargs, *arguments.args):
        if argument.arg != "self":
            yield argument.arg
    if arguments.vararg is not None:
        yield f"*{arguments.vararg.arg}"
    for argument in arguments.kwonlyargs:
        yield f"{argument.arg}={argument.arg}"
    if arguments.kwarg is not None:
        yield f"**{arguments.kwarg.arg}"


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, indent: int) -> str:
    """The ``def`` line."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    returns = returns.replace("AsyncIterator", "Iterator")
    return f"{' ' * indent}def {name}({ast.unparse(node.args)}){returns}:\n"


def _formatted(text: str, path: Path) -> str:
    """As the formatter has it, imports sorted."""
    for command in (("check", "--fix", "--select", "I", "--quiet"), ("format", "--quiet")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(path), "-"],
            input=text,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            cwd=ROOT,
            check=True,
        )
        text = done.stdout
    return text


def _docstring(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, indent: int) -> str:
    text = ast.get_docstring(node)
    if text is None:
        return ""
    pad = " " * indent
    blocking = _blocking(text)
    if "\n" not in blocking:
        return f'{pad}"""{blocking}"""\n'
    return textwrap.indent(f'"""{blocking}\n"""\n', pad, lambda line: line.strip() != "")


def _blocking(text: str) -> str:
    """Documentation of asyncio code, for code that blocks."""
    for pattern, instead in (
        (r"noctule\.connect", "noctule.sync.connect"),
        (r"async (with|for|def)", r"\1"),
        (r"\bawait receipt\b", "receipt.wait()"),
        (r"\bawait ", ""),
        (r"All methods belong to the .*", "All methods may be called from any thread."),
        (r"; it is a function or a coroutine function\.", "."),
        (r"can be awaited later", "can be waited for later"),
        (r"while nobody awaits its receipt", "while nobody waits for its receipt"),
        (r"to await some of the receipts", "to wait for some of the receipts"),
        (r"asyncio client", "blocking client"),
        (r"its task is cancelled, and the error", "the error"),
    ):
        text = re.sub(pattern, instead, text)
    return text


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the generated files; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    check: bool = parser.parse_args(arguments).check
    drifted = False
    for unit in UNITS:
        path = TARGET / unit.source
        text = generate(unit)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            drifted = True
            print(f"{path.relative_to(ROOT)} has drifted from the asyncio source", file=sys.stderr)
            continue
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    if drifted:
        print("run: python tools/generate_sync.py", file=sys.stderr)
    return int(drifted)


if __name__ == "__main__":
    sys.exit(main())
