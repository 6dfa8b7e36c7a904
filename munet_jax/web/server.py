"""Serving the browser tool: an address with a token, the page's requests, and a calm end."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
import signal
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.shutdown import StopFlag
from munet_jax.web.application import create_application
from munet_jax.web.desk import Desk
from munet_jax.web.guard import Guard

LOG = logging.getLogger("munet_jax")
KEY = ".web_cookie"  # by which pages that are open find back to a server that was started again


def serve(desk: Desk, host: str, port: int, *, browser: bool, told: Callable[[str], None] = print) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
      desk: what is shown; it is closed at the end.
      host: an address of this machine.
      port: 0 takes any.
      browser: open one.
      told: gets the address.

    Raises:
      InputError: the address cannot be listened at.
    """
    import uvicorn

    class Server(uvicorn.Server):
        """Ends the connections on which pages wait for events, which would never end."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            desk.hub.close()
            super().handle_exit(sig, frame)

    with listen_at(host, port) as listening:
        taken = listening.getsockname()[1]
        guard = Guard(create_application(desk), taken, _cookie(desk.out))
        config = uvicorn.Config(guard, log_level="warning", lifespan="off", timeout_graceful_shutdown=3, ws="none")
        shown = "127.0.0.1" if _is_any(host) else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{taken}/?token={guard.token}"
        if not _is_loopback(host):
            LOG.warning(
                "%s: other machines can reach this server, unencrypted; whoever has the address with its token sees the video "
                "and can change the masks", host,
            )  # fmt: skip
        told(f"open:     {address}")
        told("The address opens the page once; Ctrl-C ends the server, and nothing is lost.")
        if browser:
            webbrowser.open(address)
        # uvicorn raises the signal again once it has ended, which would be the end of what follows, too.
        with StopFlag(signal.SIGINT, signal.SIGTERM):
            try:
                Server(config).run(sockets=[listening])
            finally:
                desk.close()


def listen_at(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError where it cannot."""
    with contextlib.ExitStack() as stack:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listening = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(64)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"{host}:{port}: cannot be listened at ({error}); give another --host or --port"
            ) from error
        stack.pop_all()
        return listening


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cookie(out: Path) -> str:
    """The cookie of this results folder, which only its owner can read."""
    path = out / KEY
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
        found = path.read_text().strip()
    except OSError:
        return secrets.token_urlsafe(32)
    return found if len(found) >= 32 else secrets.token_urlsafe(32)
