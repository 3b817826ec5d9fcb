"""The server as Ray Serve's deployment: replicas on one machine or several."""

import os
import signal
import socket
import threading

import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from affwild_omg.cli import app as cli
from affwild_omg.cli.errors import UserError
from affwild_omg.serving import app, server
from affwild_omg.serving.options import ServerOptions


def run(options: ServerOptions) -> None:
    """Serves a model by replicas until it is told to stop.

    Joins the cluster that RAY_ADDRESS names, or else starts one that lasts as
    long as this. A replica that dies is started again; the requests that it
    held are answered by 5xx, and may be sent again.

    Raises:
        UserError: the model cannot be loaded, or the port cannot be had.
    """
    with server.listen(options) as listener:  # which Ray does not tell
        host, port = listener.getsockname()[:2]

    @serve.deployment(
        name="replica",
        num_replicas=options.replicas,
        # A replica itself refuses what is more than its queue; the rest is
        # for probes.
        max_ongoing_requests=2 * options.queue,
        max_queued_requests=options.queue,
        graceful_shutdown_timeout_s=options.timeout_s,
    )
    @serve.ingress(lambda: app.create(app.Served.load(options), options))
    class Replica:
        pass

    # Ray ends a driver at once, without an order.
    handler = signal.getsignal(signal.SIGTERM)
    joined, began, alone = "RAY_ADDRESS" in os.environ, False, {}
    if not joined:  # or Ray would join one that it finds on this machine
        alone = {"address": "local", "_node_ip_address": "127.0.0.1"}
    ray.init(log_to_driver=False, include_dashboard=False, **alone)
    signal.signal(signal.SIGTERM, handler)
    try:
        serve.start(http_options={"host": host, "port": port})
        if options.name in serve.status().applications:
            raise UserError(
                f"--name={options.name} is served on this cluster already; "
                "end that, or give another"
            )
        began = True
        serve.run(Replica.bind(), name=options.name, route_prefix="/")
        where = f"at http://{host}:{port}/"
        if not _answers(host, port):
            where = (
                f"on the cluster, not {where}: Serve ran there already, at "
                "an address of its own, or is on another machine"
            )
        cli.show(
            f"serving {options.model} by {options.replicas} replicas {where}"
        )
        threading.Event().wait()
    except RayServeException as error:  # before anything of this was there
        began = False
        raise UserError(
            f"--replicas: Ray does not serve it here ({error}); end what is in "
            "its way, or name another cluster by RAY_ADDRESS"
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"--model={options.model}: no replica could start; without "
            "--replicas this command tells why"
        ) from error
    except KeyboardInterrupt:
        cli.show("stopped")
    finally:
        if not joined:
            serve.shutdown()
        elif began:  # and leave what others serve there
            serve.delete(options.name)
        ray.shutdown()


def _answers(host, port):
    """Tells whether anybody is at an address, which was free before."""
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True
