"""The server: the application behind a socket."""

import contextlib
import socket

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from affwild_omg.cli import app as cli
from affwild_omg.cli.errors import UserError
from affwild_omg.serving import app, live
from affwild_omg.serving.options import ServerOptions


class Protocol(H11Protocol):
    """Closes connections on which the head of a request does not come in time.

    uvicorn itself waits for ever while a byte comes now and then.
    """

    def connection_made(self, transport):
        super().connection_made(transport)
        self._expect_head()

    def on_response_complete(self):
        super().on_response_complete()
        self._expect_head()

    def connection_lost(self, exc):
        self._patience.cancel()
        super().connection_lost(exc)

    def _expect_head(self):
        if hasattr(self, "_patience"):
            self._patience.cancel()
        self._patience = self.loop.call_later(
            self.config.timeout_graceful_shutdown, self._lose_patience
        )

    def _lose_patience(self):
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


def configure(application, options: ServerOptions) -> uvicorn.Server:
    """Returns a server that is not yet started."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=Protocol,
            ws_max_size=live.MOST_BYTES,
            ws_max_queue=4,
            # Pictures are compressed already, and a few bytes may unpack to
            # many.
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=options.timeout_s,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
        )
    )


def run(options: ServerOptions) -> None:
    """Serves a model until it is told to stop, and then ends what is open.

    Raises:
        UserError: the model cannot be loaded, or the port cannot be had.
    """
    with listen(options) as listener:
        server = configure(
            app.create(app.Served.load(options), options), options
        )
        host, port = listener.getsockname()[:2]
        cli.show(f"serving {options.model} at http://{host}:{port}/")
        # uvicorn stops in good order, and then raises the signal again.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    cli.show("stopped")


def listen(options: ServerOptions) -> socket.socket:
    """Opens the socket at which clients are waited for.

    Raises:
        UserError: the address or the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server(
            (options.host, options.port), family=family, backlog=2048
        )
    except OSError as error:
        raise UserError(
            f"--host={options.host} --port={options.port}: "
            f"{error.strerror or error}; name another port or address"
        ) from error
