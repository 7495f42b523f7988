"""A server of PostgreSQL of the tests' own, on a free port of this machine, which goes with them."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest

PASSWORD = "w@rd:9"
SETTINGS = "fsync=off max_connections=40 shared_buffers=8MB jit=off"


class Server:
    """A cluster in a temporary folder, run by a user who is not root: it refuses to be.

    `url` has the password in it.
    """

    def __init__(self, tools: Path) -> None:
        self._tools = tools
        self._user = {"user": _somebody(), "group": pwd.getpwnam(_somebody()).pw_gid} if os.getuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="distilsearch-"))
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.url = f"postgresql://tester:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"
        word = self._folder / "word"
        word.write_text(PASSWORD)
        if self._user:
            shutil.chown(word, _somebody())
            shutil.chown(self._folder, _somebody())
        words = ["--username=tester", f"--pwfile={word}", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"]
        self._run("initdb", f"--pgdata={self._folder / 'data'}", "--locale=C", *words)

    def control(self, what: str, *options: str) -> None:
        """Start, stop or restart it, and wait until it has done so."""
        given = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        given += "".join(f" -c {one}" for one in SETTINGS.split())
        log = f"--log={self._folder / 'log'}"
        starts = [] if what == "stop" else [f"--options={given}", log]
        self._run("pg_ctl", what, f"--pgdata={self._folder / 'data'}", "--wait", "--timeout=120", *starts, *options)

    def remove(self) -> None:
        """End it, and remove its folder."""
        try:
            self.control("stop", "--mode=immediate")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, tool: str, *words: str) -> None:
        with tempfile.TemporaryFile() as said:  # no pipe: the server would keep it open
            command = [str(self._tools / tool), *words]
            ended = subprocess.run(command, stdout=said, stderr=said, cwd="/", check=False, **self._user)
            said.seek(0)
            assert ended.returncode == 0, f"{command}: {said.read().decode()}"


def _somebody() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _tools() -> Path | None:
    """Where initdb is: on the path, or where Debian keeps it."""
    there = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(there).parent if there else versions[-1].parent if versions else None


@pytest.fixture(scope="module")
def server():
    """A running server, whatever one test did with it."""
    tools = _tools()
    if tools is None:
        pytest.skip("no server of PostgreSQL is installed (Debian: apt-get install postgresql)")
    pytest.importorskip(
        "psycopg", reason="no driver of PostgreSQL is installed (pip install 'distilsearch[postgresql]')"
    )
    one = Server(tools)
    try:
        one.control("start")
        yield one
    finally:
        one.remove()
