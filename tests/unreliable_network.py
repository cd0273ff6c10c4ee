"""A way to a server that can be cut, as where a store is away for a while."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CutWire:
    """Hands on what comes to ``port`` of this machine, and what is answered."""

    def __init__(self, to: int):
        self.to, self._away, self._open = to, threading.Event(), []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Ends all connections and lets nobody through for so long."""
        self._away.set()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()
        threading.Timer(seconds, self._away.clear).start()

    def close(self) -> None:
        self.cut(0)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                if self._away.is_set():
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.to))
                self._open += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._hand_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _hand_on(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError), one, other:
            while content := one.recv(2**16):
                other.sendall(content)


@contextmanager
def cut_wire(to: int) -> Iterator[CutWire]:
    wire = CutWire(to)
    try:
        yield wire
    finally:
        wire.close()
