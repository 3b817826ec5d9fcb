import contextlib
import socket
import threading

import pytest

from affwild_omg.serving.options import ServerOptions


@pytest.fixture(scope="module")
def saved(tf, small_saved_model):
    """The SavedModel of the short run, loaded by TensorFlow alone."""
    return tf.saved_model.load(str(small_saved_model))


@pytest.fixture(scope="session")
def served(tf, small_saved_model):
    """The SavedModel of the short run, as a server has it."""
    pytest.importorskip("fastapi", reason="needs pip install -e .[serve]")
    from affwild_omg.serving.app import Served

    return Served.load(ServerOptions(model=str(small_saved_model)))


@contextlib.contextmanager
def running(served, options):
    """Runs a server in a thread, and gives its port."""
    from affwild_omg.serving import app
    from affwild_omg.serving import server as serving

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = serving.configure(app.create(served, options), options)
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(served, options):
    """The port of a server with a module's own options."""
    with running(served, options) as port:
        yield port
