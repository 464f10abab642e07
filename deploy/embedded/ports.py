"""Free TCP ports of 127.0.0.1 for the embedded parts, the same as last time where they are still free."""

import random
import socket
import sys
from pathlib import Path

HOST = "127.0.0.1"
# Below every system's range for outgoing connections: no client takes a remembered port by accident.
RANGE = range(20_000, 32_000)


def free_ports(remembered: Path, count: int) -> list[int]:
    """`count` ports that can be bound now; `remembered` is the file that keeps them for the next time."""
    try:
        last = [int(port) for port in remembered.read_text().split()]
    except (FileNotFoundError, ValueError):
        last = []
    candidates = iter([*last, *random.sample(RANGE, len(RANGE))])
    chosen: list[int] = []
    while len(chosen) < count:
        port = next(candidates)
        if port not in chosen and _free(port):
            chosen.append(port)
    remembered.write_text(" ".join(map(str, chosen)) + "\n")
    return chosen


def _free(port: int) -> bool:
    with socket.socket() as probe:
        if sys.platform != "win32":
            # As the servers do: connections that linger after their end are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
