"""The server that runs the application."""

import ipaddress
import socket

import uvicorn
from fastapi import FastAPI

from maskrcnn_benchmark.config.errors import ConfigError

_BACKLOG = 512
_SHUTDOWN_SECONDS = 5


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allowed_hosts(host: str) -> tuple[str, ...]:
    """Names under which a server at this address may be asked for.

    On this machine alone they are its own: a page elsewhere could else take a name of its own for
    an address of this machine, and read the answers.
    """
    return ("127.0.0.1", "localhost", "[::1]", host) if is_loopback(host) else ("*",)


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket, at which clients wait until a server runs; port 0 takes a free one.

    Raises:
        ConfigError: the address does not exist here, or the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        raise ConfigError(
            f"cannot serve at {host}, port {port}: {error.strerror or error}; choose another "
            "--port or --host"
        ) from error
    return server


def make_server(app: FastAPI) -> uvicorn.Server:
    """A server, which ``run(sockets=[…])`` runs until Ctrl-C."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )
