"""The socket that callers connect to, opened before anything heavy is imported, and how it is secured.

It is opened once, by whoever lives longest: connections made while no worker accepts wait in its backlog.
"""

from __future__ import annotations

import socket
import ssl

import click

from service.errors import SettingsError
from service.settings import Settings

BACKLOG = 4096
"""Connections that may wait to be accepted: a rollout's burst of single-pair requests arrives all at once."""


def listen(settings: Settings) -> socket.socket:
    """A listening socket; port 0 lets the system choose.

    Raises:
        ClickException: If the address is taken or not this machine's.
        SettingsError: If the certificate or its key cannot be read.
    """
    check_tls(settings)
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _give_up_on_dead_peers(listener, settings.default_timeout_s)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from error
    listener.listen(BACKLOG)
    return listener


def _give_up_on_dead_peers(listener: socket.socket, after_s: float) -> None:
    """Has the kernel break connections, which inherit this, whose peer is gone or has stopped reading its reply."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(after_s * 1000))


def url_of(listener: socket.socket, settings: Settings) -> str:
    """Where callers find it."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_certfile else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def check_tls(settings: Settings) -> None:
    """Loads certificate and key once, so that a mistake ends the start with a sentence.

    Raises:
        SettingsError: If they cannot be read or do not belong together.
    """
    if settings.tls_certfile is None:
        return
    password = settings.tls_keyfile_password.get_secret_value() if settings.tls_keyfile_password else ""
    try:
        # Without a password OpenSSL would ask for one at the terminal and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certfile, settings.tls_keyfile, password)
    except (OSError, ssl.SSLError) as error:
        given = f"{str(settings.tls_certfile)!r} with tls_keyfile {str(settings.tls_keyfile or '')!r}"
        raise SettingsError(
            f"tls_certfile: {given} cannot be used ({error}); allowed: PEM files of a certificate chain and its key",
            param="tls_certfile",
        ) from error
