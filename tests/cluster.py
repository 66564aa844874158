"""The cluster of etc/ as `make cluster` starts it, from a copy of the checkout's files with free ports."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from tests.database import make_database
from tests.server import ROOT, Server, children, is_alive, make_data_dir, until

HOSTS = ("forkchat-a", "forkchat-b")


def free_port() -> int:
    """Return a port that is free on all addresses of this machine."""
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        return int(sock.getsockname()[1])


class Cluster:
    """A context manager that starts the cluster, and always shuts it down. `is_new`: see `Server`."""

    def __init__(self, is_new: bool = False) -> None:
        self.root = make_data_dir()
        self.state = self.root / "state"
        self.port, self.tls_port, self.host_port = free_port(), free_port(), free_port()
        if not is_new:
            self.state.mkdir(mode=0o711)
            make_database(self.state / "mysql")
        (self.root / "bin").mkdir()
        for name in ("cluster", "forkchat", "chatcli"):
            (self.root / "bin" / name).symlink_to(ROOT / "bin" / name)
        (self.root / ".venv").symlink_to(ROOT / ".venv")
        shutil.copytree(ROOT / "etc", self.root / "etc")
        self.edit("nginx.conf", ":8000", f":{self.port}")
        self.edit("nginx.conf", ":8443", f":{self.tls_port}")
        self.edit("nginx.conf", ":6000", f":{self.host_port}")
        self.edit("supervisord.conf", "-p 6000", f"-p {self.host_port}")
        self.edit("cluster.toml", "[listen]", f"{Server.passwords}[listen]")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / "etc" / name
        text = path.read_text()
        assert old in text, (name, old)
        whole = rf"{re.escape(old)}\b" if old[-1].isdigit() else re.escape(old)  # :6000 must not match :60005
        path.write_text(re.sub(whole, new, text))

    def start(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "bin/cluster"],
            env=os.environ | {"CLUSTER": str(self.state)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def __enter__(self) -> Cluster:
        try:
            started = self.start()
            assert started.returncode == 0, started.stdout + started.stderr + self.logs()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        supervisord = self.pid()
        family = self.processes()
        if supervisord:
            self.control("shutdown")
            until(lambda: not is_alive(supervisord), "supervisord has ended", 60)
        until(lambda: not any(map(is_alive, family)), "everything has ended")
        shutil.rmtree(self.root)

    def control(self, *command: str) -> str:
        """Run `supervisorctl`; return its output."""
        supervisorctl, conf = self.root / ".venv/bin/supervisorctl", self.root / "etc/supervisord.conf"
        done = subprocess.run(
            [supervisorctl, "-c", conf, *command], capture_output=True, text=True, timeout=90, check=False
        )
        return done.stdout + done.stderr

    def pid(self, program: str = "") -> int:
        """Return the process id of a program, or of supervisord; 0 if it does not run."""
        transport = SupervisorTransport(None, None, f"unix://{self.root}/.cluster/supervisor.sock")
        with suppress(OSError), ServerProxy("http://127.0.0.1", transport) as supervisord:
            rpc: Any = supervisord.supervisor
            return int(rpc.getProcessInfo(program)["pid"] if program else rpc.getPID())
        return 0

    def processes(self) -> dict[int, str]:
        """Return the titles of all running processes of the cluster, by process id."""
        pid = self.pid()
        if not pid:
            return {}
        programs = children(pid)
        return programs | {k: v for program in programs for k, v in children(program).items()}

    def log(self, program: str) -> str:
        path = self.state / "log" / f"{program}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in self.state.glob("log/*"))

    def host_of(self, user: int) -> str:
        """Return the host of the user's first session, from the hosts' logs.

        It waits for them, because supervisor writes them a little later.
        """
        start = re.compile(rf"session\.start user={user} ")
        return until(
            lambda: next((host for host in HOSTS if start.search(self.log(host))), ""), "a log names the user"
        )

    def sockets(self) -> list[Path]:
        """Return the existing socket files."""
        return [path for path in self.state.rglob("*") if path.is_socket()]
