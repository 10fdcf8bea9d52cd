"""What a workshop process and the one that started it say to each other: length-prefixed JSON, bytes in base64.

Neither side unpickles: a process that a hostile file took over can send nothing but values, which are read like any other input.
"""

import base64
import json
import socket
import struct
from typing import Any

# A file of 1 MiB comes out as its certificates, each with its chain, in base64.
MOST = 32 << 20
# How long a process waits to be asked again, before it ends.
IDLE_SECONDS = 90.0
_LENGTH = struct.Struct(">I")

Message = dict[str, Any]


class ChannelBroken(Exception):
    """The other side is gone, or does not keep to the form."""


def send(channel: socket.socket, message: Message) -> None:
    """Send a message. Raises ChannelBroken, and TimeoutError as the socket is set."""
    payload = json.dumps(message, separators=(",", ":")).encode()
    try:
        channel.sendall(_LENGTH.pack(len(payload)) + payload)
    except TimeoutError:
        raise
    except OSError as error:
        raise ChannelBroken from error


def receive(channel: socket.socket, most: int = MOST) -> Message:
    """Return the next message, of ``most`` bytes. Raises ChannelBroken, and TimeoutError as the socket is set."""
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if length > most:
        raise ChannelBroken
    try:
        message = json.loads(_exactly(channel, length))
    except (ValueError, RecursionError) as error:
        raise ChannelBroken from error
    if not isinstance(message, dict):
        raise ChannelBroken
    return message


def text_of(data: bytes) -> str:
    """Return bytes as they stand in a message."""
    return base64.b64encode(data).decode()


def bytes_of(text: str) -> bytes:
    """Return the bytes that stand in a message. Raises ValueError."""
    return base64.b64decode(text, validate=True)


def _exactly(channel: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        try:
            part = channel.recv(min(size - len(received), 1 << 20))
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelBroken from error
        if not part:
            raise ChannelBroken
        received += part
    return bytes(received)
