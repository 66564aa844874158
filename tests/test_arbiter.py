"""The master and its workers: how workers are started, replaced and ended, and what each signal does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from forkchat.config import Config
from forkchat.process.embedded import with_urls
from forkchat.store.connection import connect as connect_mysql
from forkchat.wire import msgid as m
from tests.server import FORKCHAT, Server, children, forkchat, is_alive, make_data_dir, until
from tests.talk import UNLIMITED, Modern


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with Server("-w", "2") as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Server:
    """The shared server, with workers 1 and 2 and an empty configuration again."""
    until(lambda: sorted(shared.workers()) == [1, 2], "two workers")
    shared.config_path.write_text("")
    return shared


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def logged(server: Server, pattern: str) -> int:
    return len(re.findall(pattern, server.log()))


def test_workers_serve_and_have_titles(server: Server) -> None:
    title = Path(f"/proc/{server.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    host = re.fullmatch(rf"forkchat: master (\S+@127\.0\.0\.1:{server.port}~[0-9a-f]{{6}})", title)
    assert host
    leases = [re.escape(f"forkchat: worker {slot} {host[1]}:") + f"[0-9a-f]{{8}}:{slot}:1" for slot in (1, 2)]
    titles = sorted(title for title in children(server.pid).values() if "worker" in title)
    assert all(re.fullmatch(*pair) for pair in zip(leases, titles, strict=True)), titles
    with connect(server) as client:
        client.sendall(b'{"msgid":100,"rid":"1","ver":1,"ua":"test"}\n')
        assert b'"msgid":101' in client.recv(4096)


def test_the_master_imports_no_driver_and_no_service(server: Server) -> None:
    def libraries(pid: int) -> str:
        return Path(f"/proc/{pid}/maps").read_text()

    for name in ("_mysql", "hiredis"):
        assert name not in libraries(server.pid)
        assert name in libraries(server.workers()[1])


def test_a_killed_worker_is_replaced_at_once(server: Server) -> None:
    before = server.workers()
    os.kill(before[1], signal.SIGKILL)
    until(lambda: server.workers().get(1, before[1]) != before[1], "a new worker", 1.0)
    after = server.workers()
    assert after[2] == before[2]
    server.wait_log(rf"worker\.exit slot=1 pid={before[1]} status=SIGKILL")
    server.wait_log(rf"worker\.fork slot=1 pid={after[1]} generation=2")


def test_ttin_and_ttou(server: Server) -> None:
    server.send(signal.SIGTTIN)
    until(lambda: sorted(server.workers()) == [1, 2, 3], "a third worker")
    server.wait_log("worker3 worker.ready")
    server.send(signal.SIGTTOU)
    until(lambda: sorted(server.workers()) == [1, 2], "the third worker's end")
    server.wait_log(r"worker\.exit slot=3 pid=\d+ status=0")
    server.send(signal.SIGTTOU)
    until(lambda: sorted(server.workers()) == [1], "the second worker's end")
    server.send(signal.SIGTTOU)
    server.send(signal.SIGTTIN)
    until(lambda: sorted(server.workers()) == [1, 2], "the last worker stays")


def test_hup_rereads_the_configuration_and_drops_no_one(server: Server) -> None:
    workers = server.workers()
    with connect(server) as client:
        server.config_path.write_text("[limits]\ntext = 100\n[server]\nworkers = 7\n[listen]\nhost = '::1'\n")
        server.send(signal.SIGHUP)
        server.wait_log(r"master config\.reload")
        server.wait_log(r"config\.needs_restart keys=listen\.host\s")
        for slot in workers:
            server.wait_log(rf"worker{slot} worker\.reloaded")
        client.sendall(b'{"msgid":100,"rid":"1","ver":1,"ua":"test"}\n')
        assert b'"text":100' in client.recv(4096)
    assert server.workers() == workers


def test_hup_with_a_bad_file_changes_nothing(server: Server) -> None:
    reloads = logged(server, r"config\.reload")
    server.config_path.write_text(f"[server]\ndrain_time = 1{'0' * 5000}\n")
    server.send(signal.SIGHUP)
    server.wait_log(r"config\.refused problem=.*not TOML")
    server.config_path.write_text("[limits]\ntext = 0\nframe = true\n")
    server.send(signal.SIGHUP)
    server.wait_log(r"config\.refused problem=.*limits\.text")
    server.wait_log(r"config\.refused problem=.*limits\.frame")
    assert logged(server, r"config\.reload") == reloads


def test_a_pause_of_the_whole_server_kills_no_one() -> None:
    """A pause of all processes, as by Ctrl-Z and `fg`, kills no worker.

    Missing heartbeats do not count, because the master was stopped too.
    """
    with Server("-w", "1", config="[server]\nworker_timeout = 2.0\n") as server:
        family = [server.pid, *server.workers().values()]
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        started = os.times().elapsed
        until(lambda: os.times().elapsed - started > 3.5, "more than a pause")
        for pid in reversed(family):
            os.kill(pid, signal.SIGCONT)
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert "worker.kill" not in server.log()


def test_a_silent_worker_is_killed_and_replaced() -> None:
    with Server("-w", "1", config="[server]\nworker_timeout = 2.0\n") as server:
        silent = server.workers()[1]
        os.kill(silent, signal.SIGSTOP)
        server.wait_log(rf'worker\.kill slot=1 pid={silent} why="no heartbeat"', 5.0)
        until(lambda: server.workers().get(1, silent) != silent, "a new worker", 2.0)


def test_usr1_reopens_the_log_in_all() -> None:
    path = make_data_dir() / "forkchat.log"
    with Server("-w", "2", config=f"[server]\nlog_file = '{path}'\n", wait=False) as server:
        until(lambda: path.exists() and "master.ready" in path.read_text(), "ready")
        path.rename(path.with_suffix(".1"))
        server.send(signal.SIGUSR1)

        def has_open(pid: int) -> bool:
            return str(path) in [
                os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()
            ]

        for pid in [server.pid, *server.workers().values()]:
            until(lambda pid=pid: has_open(pid), f"{pid} has the new file open")  # type: ignore[misc]
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_and_leaves_nothing_behind(tmp_path: Path, signum: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text("1\n")  # stale
    with Server("-w", "2", "--pid", str(pid_file)) as server:
        assert pid_file.read_text() == f"{server.pid}\n"
        family = children(server.pid)
        with connect(server) as client:
            client.sendall(b'{"msgid":100}\n')
            assert client.recv(4096)  # accepted now; the end resets connections in the backlog
            server.send(signum)
            assert server.wait() == 0
            client.settimeout(5)
            while client.recv(4096):
                pass
        assert not any(map(is_alive, family))
        assert list(tmp_path.iterdir()) == []
        log = server.log()
        assert log.index("worker.exit") < log.index("service.stop") < log.index("master.stop")
        assert log.count("status=0") == 4  # two workers, two services
        with pytest.raises(ConnectionRefusedError):
            connect(server)


def test_who_does_not_drain_in_time_is_killed_and_clients_are_refused_meanwhile() -> None:
    with Server("-w", "1", config="[server]\ndrain_time = 60\n") as server:
        os.kill(server.workers()[1], signal.SIGSTOP)
        server.send(signal.SIGTERM)
        server.wait_log("master.end")
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        server.send(signal.SIGINT)
        assert server.wait() == 0
        assert 'why="does not end"' in server.log()


def test_a_crash_loop_ends_the_server(tmp_path: Path) -> None:
    """The server ends if its workers cannot import a module, as in a broken installation."""
    (tmp_path / "orjson.py").write_text("raise ImportError('broken')")
    with Server("-w", "2", env={"PYTHONPATH": str(tmp_path)}, wait=False) as server:
        assert server.wait() == 1
        assert "ImportError: broken" in server.log()
        assert "\nforkchat: the workers die as they start, 5 times in a row" in server.log()
        assert logged(server, r"worker\.fork") <= 12
        assert logged(server, r"service\.stop .*status=0") == 2


def test_a_worker_that_dies_quickly_is_replaced_ever_more_slowly() -> None:
    """Workers that die after they were ready are no crash loop, so the server goes on."""
    with Server("-w", "1") as server:
        for generation in range(1, 6):
            server.wait_log(rf"worker\.fork slot=1 pid=\d+ generation={generation}\s", 8.0)
            until(lambda n=generation: logged(server, r"worker1 worker\.ready") == n, "ready")  # type: ignore[misc]
            os.kill(server.workers()[1], signal.SIGKILL)
        server.wait_log(r"generation=6\s", 8.0)
        assert server.process.poll() is None


def test_it_listens_when_all_workers_are_ready() -> None:
    """The port is bound at once, but listens only when all workers are ready.

    Until then clients are refused, so that they go to another host.
    """
    with Server("-w", "2", wait=False) as server:
        server.wait_log(r"worker\.fork slot=2")
        title = Path(f"/proc/{server.pid}/cmdline").read_text()
        server.port = int(re.findall(r":(\d+)~", title)[0])
        first = server.workers()[1]
        os.kill(first, signal.SIGSTOP)
        try:
            server.wait_log(r"worker2 worker\.ready")
            used = Path(f"/proc/{server.workers()[2]}/stat")
            before = sum(map(int, used.read_text().rpartition(")")[2].split()[11:13]))
            with pytest.raises(ConnectionRefusedError):
                connect(server)
            other = forkchat("-p", str(server.port), "--data-dir", str(server.data_dir / "other"))
            assert other.returncode == 1
            assert f"cannot listen on port {server.port} of 127.0.0.1: Address already in use" in other.stderr
            with pytest.raises(ConnectionRefusedError):
                connect(server)
            assert "master.ready" not in server.log()
            # Workers do not poll the socket yet, because epoll reports a hang-up until the socket listens.
            after = sum(map(int, used.read_text().rpartition(")")[2].split()[11:13]))
            assert after - before < 20
        finally:
            os.kill(first, signal.SIGCONT)
        server.wait_ready()
        with Modern(server.port) as client:
            client.done(m.PING)
        os.kill(server.workers()[1], signal.SIGKILL)
        server.wait_log(r"worker1 worker\.ready(?s:.*)worker1 worker\.ready")
        for _ in range(8):
            with Modern(server.port) as client:
                client.done(m.PING)


def test_another_program_listens_first() -> None:
    with Server("-w", "1", wait=False) as server:
        server.wait_log(r"worker\.fork slot=1")
        worker = server.workers()[1]
        os.kill(worker, signal.SIGSTOP)
        title = Path(f"/proc/{server.pid}/cmdline").read_text()
        port = int(re.findall(r":(\d+)~", title)[0])
        with socket.create_server(("127.0.0.1", port)):
            os.kill(worker, signal.SIGCONT)
            assert server.wait() == 1
        assert (
            f"\nforkchat: cannot listen on port {port} of 127.0.0.1: Address already in use; " in server.log()
        )
        assert logged(server, r"service\.stop .*status=0") == 2


def test_it_ends_before_it_listens() -> None:
    with Server("-w", "1", wait=False) as server:
        server.wait_log(r"worker\.fork slot=1")
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback" not in server.log()


def test_workers_that_cannot_start_end_the_server() -> None:
    """The server ends if its workers fail to start again and again.

    A dependency that is away does not end the server, because workers wait for it.
    """
    data_dir = make_data_dir()
    with Server("-w", "1", data_dir=data_dir) as server:
        with closing(
            connect_mysql(with_urls(Config().with_value("server.data_dir", str(data_dir))).mysql.url)
        ) as connection:
            connection.cursor().execute("DELETE FROM epoch")
            connection.commit()
        server.send(signal.SIGTERM)
        server.wait()
    with Server("-w", "2", data_dir=data_dir, wait=False) as server:
        assert server.wait(30) == 1
        assert logged(server, r"worker[12] worker\.start_failed") >= 5
        assert logged(server, r"worker\.exit slot=. pid=\d+ status=1 ") >= 5
        assert "\nforkchat: the workers die as they start, 5 times in a row" in server.log()
        assert "loop.error" not in server.log()
    shutil.rmtree(data_dir)


def test_a_person_at_a_terminal_is_told_how_to_join() -> None:
    """The terminal shows how to join from this machine and from others, with the actual port."""
    reader, writer = os.openpty()
    into = ["sh", "-c", f'exec "$@" 2>/proc/{os.getpid()}/fd/{writer}', "sh", *FORKCHAT]
    for host, local in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")):
        with Server("-w", "1", "-b", host, command=into, wait=False) as server:
            said = ""
            while "plaintext" not in said:
                said += os.read(reader, 4096).decode()
            port = re.findall(r"master\.ready .*port=(\d+)", said)[0]
            assert re.search(
                rf"chatcli {re.escape(local)}:{port}, or with: nc {local.strip('[]')} {port}\s", said
            )
            assert ("-b 0.0.0.0" in said) == (host != "0.0.0.0")
            server.send(signal.SIGTERM)
            assert server.wait() == 0
    os.close(reader)
    os.close(writer)


def test_a_connection_is_taken_by_another_when_one_worker_is_stopped() -> None:
    """Another worker accepts the connections of a stopped worker.

    It does so even if it has more than its share, and would leave them to other workers.
    """
    with Server("-w", "2", config=UNLIMITED) as server:
        stopped = server.workers()[1]
        os.kill(stopped, signal.SIGSTOP)
        try:
            clients = [Modern(server.port) for _ in range(10)]
            for client in clients:
                client.done(m.PING)
        finally:
            os.kill(stopped, signal.SIGCONT)
