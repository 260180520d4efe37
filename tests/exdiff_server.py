"""Runs `exdiff` for shell scripts in tests: the libraries are loaded once, each call is a fork of its own.

Started as ``exdiff_server.py ADDRESS BUNDLE``; :data:`CLIENT` is the program that calls it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from exdiff_cli.cli import main
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore

CLIENT = """#!{python} -S
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"3"], [0, 1, 2])
    server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(8)))
"""


def serve(address: str, bundle: str) -> None:
    """Answer calls until killed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        while True:
            caller, _ = server.accept()
            if not os.fork():
                answer(caller, bundle)
            caller.close()


def answer(caller: socket.socket, bundle: str) -> None:
    """Be the called program: its streams, its folder, its environment, and its exit code."""
    _, streams, _, _ = socket.recv_fds(caller, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    arguments, folder, environment = json.loads(b"".join(iter(lambda: caller.recv(65_536), b"")))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if arguments[:1] == ["enhance"]:
        arguments[1:1] = ["--bundle", bundle, "--steps", "0", "--device", "cpu"]
    sys.argv = ["exdiff", *arguments]
    code: Any = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    sys.stdout.flush()
    caller.sendall(str(int(code)).encode())
    os._exit(0)


def _score(model: Dnsmos, windows: Sequence[Any]) -> list[DnsmosScore]:
    return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]


if __name__ == "__main__":
    Dnsmos.score = _score  # type: ignore[assignment, method-assign]
    serve(*sys.argv[1:])
