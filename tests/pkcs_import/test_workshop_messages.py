"""What a workshop process and its parent say to each other: whole, in bounds, or not at all."""

import socket
import struct
from collections.abc import Iterator

import pytest

from pkcs_import.workshop_messages import MOST, ChannelBroken, bytes_of, receive, send, text_of


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_a_message_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    send(one, {"do": "open", "data": text_of(b"\x00\xff"), "password": "鍵", "none": None})
    send(one, {})
    received = receive(other)
    assert (bytes_of(received["data"]), received["password"], received["none"]) == (b"\x00\xff", "鍵", None)
    assert receive(other) == {}


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\0\0",
        struct.pack(">I", 10) + b"{}",
        struct.pack(">I", MOST + 1) + b"{}",
        struct.pack(">I", 2) + b"{]",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 2) + b"\xff\xff",
        struct.pack(">I", 200_000) + b"[" * 200_000,
    ],
)
def test_what_is_no_whole_message_breaks_the_channel(ends: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    one, other = ends
    one.settimeout(0)
    one.send(sent)
    one.close()
    with pytest.raises(ChannelBroken):
        receive(other)


def test_who_is_gone_is_told_nothing_and_says_nothing(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    other.close()
    with pytest.raises(ChannelBroken):
        send(one, {})
    with pytest.raises(ChannelBroken):
        receive(one)


def test_silence_is_told_from_the_end(ends: tuple[socket.socket, socket.socket]) -> None:
    one, _ = ends
    one.settimeout(0.01)
    with pytest.raises(TimeoutError):
        receive(one)
    with pytest.raises(TimeoutError):
        send(one, {"much": "x" * (8 << 20)})
