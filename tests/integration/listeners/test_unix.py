"""Unix sockets: who may connect, and who they are."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from asyncio import to_thread
from collections.abc import Iterator
from pathlib import Path

import pytest

from noctule.access import Access, Peer
from noctule.broker import Broker
from tests.integration.broker.wire import connect

NOBODY, NAMELESS = 65_534, 54_321

# Connects as another user and prints what the broker's CONNACK says.
SCRIPT = """
import os, socket, sys
path, user, packet = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
os.setgroups([])
os.setgid(user)
os.setuid(user)
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(60)
    try:
        connection.connect(path)
    except PermissionError:
        print("permission denied", flush=True)
    else:
        connection.sendall(packet)
        print(connection.recv(100).hex(), flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into; those of pytest are the tests' own."""
    path = Path(tempfile.mkdtemp(prefix="noctule-unix-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
async def test_mode_says_who_may_connect_and_the_system_who_it_is(open_folder: Path) -> None:
    modes = {"all": "666", "owner": "600", "default": None}
    listeners = [
        {
            "scheme": "unix",
            "path": str(open_folder / name),
            **({} if mode is None else {"unix_mode": mode}),
        }
        for name, mode in modes.items()
    ]
    async with Broker(listeners=listeners, authenticator=Access(links=[Peer()])) as broker:
        for name, mode in modes.items():
            found = stat.S_IMODE((open_folder / name).stat().st_mode)
            assert found == int(mode or "660", 8)

        def come(name: str, user: int) -> tuple[str, subprocess.Popen[str]]:
            arguments = [str(open_folder / name), str(user), connect(f"of-{user}").hex()]
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", SCRIPT, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
            assert process.stdout is not None
            return process.stdout.readline().strip(), process

        processes = []
        for name, user, said in [
            ("all", NOBODY, "20020000"),
            ("all", NAMELESS, "20020000"),
            ("owner", NOBODY, "permission denied"),
            ("default", NOBODY, "permission denied"),
        ]:
            answer, process = await to_thread(come, name, user)
            processes.append(process)
            assert answer == said, (name, user)
        # Who has no name on this machine goes by the number.
        users = {client.client: client.user for client in await broker.clients()}
        assert users == {f"of-{NOBODY}": "nobody", f"of-{NAMELESS}": str(NAMELESS)}
        for process in processes:
            await to_thread(process.communicate)
    # The files go with their listeners.
    assert os.listdir(open_folder) == []
