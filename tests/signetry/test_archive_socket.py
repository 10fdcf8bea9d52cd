"""The socket of the archive process: found at any depth, closed to others, taken over by a successor."""

import os
import socket
import stat
from pathlib import Path

import pytest

from signetry.archive_socket import connected, listening, require_same_user


def said(channel: socket.socket) -> bytes:
    channel.settimeout(5)
    return channel.recv(100)


@pytest.mark.parametrize("name", ["home", "h" * 200])
def test_who_connects_is_answered_however_deep_the_state_directory_lies(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    with listening(home) as listener, connected(home) as channel:
        taken, _ = listener.accept()
        with taken:
            taken.sendall(b"here")
        assert said(channel) == b"here"


def test_nobody_else_may_open_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with listening(tmp_path):
            assert stat.S_IMODE((tmp_path / "run" / "archive.sock").stat().st_mode) == 0o600
            assert [path.name for path in (tmp_path / "run").iterdir()] == ["archive.sock"]
            assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_a_successor_takes_over_while_its_predecessor_is_dying(tmp_path: Path) -> None:
    with listening(tmp_path) as predecessor, listening(tmp_path) as successor, connected(tmp_path) as channel:
        predecessor.settimeout(0.05)
        with pytest.raises(TimeoutError):
            predecessor.accept()
        taken, _ = successor.accept()
        with taken:
            taken.sendall(b"successor")
        assert said(channel) == b"successor"


def test_where_nobody_listens_there_is_no_connection(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connected(tmp_path)
    with listening(tmp_path):
        pass
    with pytest.raises(ConnectionRefusedError):
        connected(tmp_path)


def test_another_users_process_is_none_to_talk_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, listening(tmp_path):
        require_same_user(ours)
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        with pytest.raises(PermissionError):
            require_same_user(ours)
        with pytest.raises(PermissionError):
            connected(tmp_path)
