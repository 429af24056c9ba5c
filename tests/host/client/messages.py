"""What a running server tells the frontend while a prompt runs, from its websocket."""

import base64
import json
import os
import socket
import struct
import time
from typing import Any
from urllib.parse import urlsplit

_TEXT = 1  # opcode of a frame that holds text; previews come in others


class Messages:
    """A listener to all messages from now on; close it in the end."""

    def __init__(self, url: str):
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), 30)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._stream = self._socket.makefile("rb")
        answer = self._stream.readline()
        while self._stream.readline().strip():
            pass
        if b" 101 " not in answer:
            raise ConnectionError(f"the server opens no websocket: {answer!r}")

    def wait_for(self, kind: str, seconds: float, **values: Any) -> dict[str, Any]:
        """The data of the next message of a kind with these values. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            opcode, payload = self._frame()
            message = json.loads(payload) if opcode == _TEXT else {}
            data: dict[str, Any] = message.get("data", {})
            if message.get("type") == kind and values.items() <= data.items():
                return data
        raise TimeoutError(f"no message {kind} with {values} in {seconds} s")

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def _frame(self) -> tuple[int, bytes]:
        """Opcode and payload; a server's frames are whole and not masked."""
        first, length = self._stream.read(2)
        if length >= 126:
            size, form = (2, ">H") if length == 126 else (8, ">Q")
            (length,) = struct.unpack(form, self._stream.read(size))
        return first & 0xF, self._stream.read(length)
