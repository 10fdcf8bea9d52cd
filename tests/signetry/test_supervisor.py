"""The supervisor, with small children: they come back, they go with it, and nothing holds its sockets afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# A child as ours are: it dies with its parent. On its inherited socket it answers every connection with its process id.
CHILD = """
import os, signal, socket, sys
from signetry.child import die_with_parent
descriptor, parent = map(int, sys.argv[1:])
die_with_parent(parent)
listener = socket.socket(fileno=descriptor)
listener.setblocking(True)
while True:
    connection, _ = listener.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.close()
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
SUPERVISOR = """
import json, os, socket, sys
from pathlib import Path
from signetry import supervisor
from signetry.supervisor import ChildSpec, Supervisor
state, child, count, grace = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
supervisor._GRACE_SECONDS = grace
listener = socket.create_server(("127.0.0.1", int(sys.argv[5])))
def tell(children):
    temporary = state.with_suffix(".new")
    temporary.write_text(json.dumps({"port": listener.getsockname()[1], "children": dict(children)}))
    temporary.replace(state)
fd = listener.fileno()
specs = [ChildSpec(f"child-{n}", [sys.executable, "-c", child, str(fd)], (fd,)) for n in range(count)]
Supervisor(specs, on_change=tell).run()
"""


class Running:
    """A supervisor in a process of its own."""

    def __init__(self, state: Path, child: str, *, count: int = 2, grace: float = 10, port: int = 0) -> None:
        self.state = state
        command = [sys.executable, "-c", SUPERVISOR, str(state), child, str(count), str(grace), str(port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def children(self) -> dict[str, int]:
        """Return the children's process ids by name."""
        children: dict[str, int] = json.loads(self.state.read_text())["children"] if self.state.exists() else {}
        return children

    @property
    def port(self) -> int:
        """The port the children listen on."""
        port: int = json.loads(self.state.read_text())["port"]
        return port

    def ask(self) -> int:
        """Return the process id of the child that answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            return int(connection.recv(100))


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    """Kill a process and wait for its end: a dying one may still accept a connection, which ends with it."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def begin(child: str = CHILD, **options: float) -> Running:
        running = Running(tmp_path / f"state-{len(started)}.json", child, **options)  # type: ignore[arg-type]
        started.append(running)
        until(lambda: len(running.children()) == options.get("count", 2))
        return running

    yield begin
    for running in started:
        running.process.kill()
        running.process.wait()


def test_a_killed_child_is_replaced_at_once(start: Start) -> None:
    running = start(count=1)
    victim = running.ask()
    began = time.monotonic()
    kill(victim)
    # Connections wait in the shared socket's queue for the successor; none is refused.
    successor = running.ask()
    assert successor != victim
    assert running.children() == {"child-0": successor}
    assert time.monotonic() - began < 3


def test_a_child_that_is_killed_again_and_again_is_not_kept_waiting(start: Start) -> None:
    running = start(count=1)
    began = time.monotonic()
    for _ in range(6):
        kill(running.ask())
    running.ask()
    assert time.monotonic() - began < 6


def test_a_child_that_keeps_dying_is_started_less_and_less_often(tmp_path: Path, start: Start) -> None:
    starts = tmp_path / "starts"
    start(f"open({str(starts)!r}, 'a').write('x')", count=1)
    time.sleep(2.5)
    assert 2 <= len(starts.read_text()) <= 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_its_children_and_exits_with_zero(start: Start, number: signal.Signals) -> None:
    running = start()
    running.ask()
    children = list(running.children().values())
    running.process.send_signal(number)
    assert running.process.wait(10) == 0
    assert not any(alive(pid) for pid in children)


def test_a_hangup_does_not_stop_it(start: Start) -> None:
    running = start()
    running.ask()
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert running.process.poll() is None
    running.ask()


def test_a_child_that_does_not_stop_is_killed(start: Start) -> None:
    running = start(STUBBORN, count=1, grace=0.5)
    (child,) = running.children().values()
    time.sleep(0.5)
    running.process.terminate()
    assert running.process.wait(10) == 0
    assert not alive(child)


def test_killing_the_supervisor_leaves_no_orphan_and_frees_the_port(start: Start) -> None:
    running = start()
    running.ask()
    children, port = list(running.children().values()), running.port
    running.process.kill()
    running.process.wait()
    until(lambda: not any(alive(pid) for pid in children), 3)
    again = start(port=port)
    assert again.ask() in again.children().values()


def test_a_child_whose_parent_is_gone_already_leaves_by_itself() -> None:
    command = "from signetry.child import die_with_parent; die_with_parent(1 << 22); print('stayed')"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, check=False, timeout=20)
    assert (result.returncode, result.stdout) == (1, b"")
