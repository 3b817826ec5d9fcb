"""The server's application: what it answers on each path.

The paths of predictions, and their errors, are those of TensorFlow Serving.
"""

import asyncio
import contextlib
import dataclasses
import pathlib
import re
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import fastapi
import prometheus_client
import tensorflow as tf
from fastapi import Query, Request, Response, WebSocket
from fastapi.exceptions import WebSocketRequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from affwild_omg.cli.errors import UserError
from affwild_omg.inference.predictor import Predictor
from affwild_omg.serving import rest
from affwild_omg.serving.live import Live
from affwild_omg.serving.options import ServerOptions
from affwild_omg.weights import model_file

STATIC = pathlib.Path(__file__).parent / "static"
_MODEL = "/v1/models/{name}"
_VERSION = _MODEL + "/versions/{version}"


class Metrics:
    """What /metrics tells, in a registry of its own."""

    def __init__(self):
        self.registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "affwild_omg_requests",
            "Requests answered, by path and status.",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = prometheus_client.Histogram(
            "affwild_omg_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["path"],
            registry=self.registry,
        )
        self.open = 0
        prometheus_client.Gauge(
            "affwild_omg_open_requests",
            "Requests for predictions that are received, wait or are computed.",
            registry=self.registry,
        ).set_function(lambda: self.open)


class Limits:
    """ASGI middleware: limits on size, time and number of requests.

    It receives a body whole before the application sees it, so that a client
    can be too slow or too long here alone, and never holds more than the limit.
    """

    def __init__(
        self, app: Callable, *, options: ServerOptions, metrics: Metrics
    ):
        self._app = app
        self._options = options
        self._metrics = metrics

    async def __call__(
        self, scope: dict, receive: Callable, send: Callable
    ) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begin, status = time.perf_counter(), 500

        async def note(message):
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._limited(scope, receive, note)
        finally:
            route = scope.get("route")
            path = route.path if route else "other"
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(
                time.perf_counter() - begin
            )

    async def _limited(self, scope, receive, send):
        # A probe of health always gets through, and nobody reads its body.
        if scope["method"] != "POST":
            return await self._app(scope, receive, send)
        if self._metrics.open >= self._options.queue:
            answer = _error(
                429,
                f"{self._options.queue} requests are open, and no more are "
                "allowed; try again later",
                {"retry-after": "1", "connection": "close"},
            )
            return await self._refuse(answer, receive, send)
        self._metrics.open += 1
        try:
            await self._received(scope, receive, send)
        finally:
            self._metrics.open -= 1

    async def _received(self, scope, receive, send):
        """Receives the body, and then calls the application."""
        most, seconds = self._options.body_mib, self._options.timeout_s
        close = {"connection": "close"}
        try:
            body = await asyncio.wait_for(self._body(scope, receive), seconds)
        except ValueError:
            answer = _error(413, f"the body has more than {most} MiB", close)
            return await self._refuse(answer, receive, send)
        except asyncio.TimeoutError:
            answer = _error(
                408, f"the body did not come within {seconds} s", close
            )
            return await answer(scope, receive, send)
        if body is None:  # the client left
            return
        given = [{"type": "http.request", "body": body}]

        async def replay():
            return given.pop() if given else await receive()

        await self._app(scope, replay, send)

    async def _body(self, scope, receive):
        """Returns a body; ValueError if it is too long, None if cut off."""
        size = int(dict(scope["headers"]).get(b"content-length", 0))
        if size > self._options.body_mib << 20:
            raise ValueError
        parts = [part async for part in self._parts(receive)]
        return None if None in parts else b"".join(parts)

    async def _parts(self, receive):
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                yield None
                return
            part = message.get("body", b"")
            size += len(part)
            if size > self._options.body_mib << 20:
                raise ValueError
            yield part
            more = message.get("more_body", False)

    async def _refuse(self, answer, receive, send):
        """Answers before the body is there.

        What comes of it up to the limit is thrown away: most clients look for
        an answer only when they have sent all, or find the connection cut.
        """
        await send(
            {
                "type": "http.response.start",
                "status": answer.status_code,
                "headers": answer.raw_headers,
            }
        )
        part = {"type": "http.response.body", "body": answer.body}
        await send(part | {"more_body": True})

        async def drain():
            async for _ in self._parts(receive):
                pass

        with contextlib.suppress(ValueError, asyncio.TimeoutError):
            await asyncio.wait_for(drain(), self._options.timeout_s)
        await send({"type": "http.response.body", "body": b""})


def _json(content, status=200, headers=None):
    return Response(rest.to_json(content), status, headers, "application/json")


def _error(status, message, headers=None):
    return _json({"error": message}, status, headers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """A model under its name.

    Attributes:
        predictor: of a SavedModel.
        metadata: of its signatures, see `rest.metadata`.
        name: in the paths.
        version: in the paths, too.
    """

    predictor: Predictor
    metadata: dict
    name: str
    version: str

    @classmethod
    def load(cls, options: ServerOptions) -> "Served":
        """Loads a SavedModel, or the newest version in a folder of them.

        Raises:
            UserError: it is damaged or something else.
        """
        path, version = newest(pathlib.Path(options.model))
        predictor = Predictor.from_saved_model(path)
        for signature in predictor.signatures.values():
            _, specs = signature.structured_input_signature
            # The first call takes seconds. Where the mask is False, no
            # picture is looked at.
            signature(
                **{
                    name: tf.zeros(
                        [1 if size is None else size for size in spec.shape],
                        spec.dtype,
                    )
                    for name, spec in specs.items()
                }
            )
        return cls(
            predictor=predictor,
            metadata=rest.metadata(path),
            name=options.name,
            version=version,
        )


def newest(path: pathlib.Path) -> tuple[pathlib.Path, str]:
    """Returns the newest version in a folder of them, or a SavedModel itself.

    Returns:
        The SavedModel's folder and its version, which is 1 if the name of the
        folder is no number.
    """
    if not model_file.is_saved_model(path):
        versions = (x for x in path.glob("*") if model_file.is_saved_model(x))
        versions = (x for x in versions if re.fullmatch("[0-9]+", x.name))
        path = max(versions, key=lambda x: int(x.name), default=path)
    name = path.resolve().name
    return path, name if re.fullmatch("[0-9]+", name) else "1"


def create(served: Served, options: ServerOptions) -> fastapi.FastAPI:
    """Makes the application.

    Args:
        served: the model.
        options: the limits.
    """
    metrics = Metrics()
    live = None
    if options.live:
        live = Live(
            served.predictor,
            most=options.live,
            patience_s=options.timeout_s,
            registry=metrics.registry,
        )
    # One request at a time: TensorFlow itself uses all cores.
    worker = ThreadPoolExecutor(1)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        yield
        worker.shutdown(cancel_futures=True)
        if live is not None:
            live.close()

    # The pages that FastAPI makes of its routes ask other hosts for scripts.
    app = fastapi.FastAPI(
        title="affwild_omg", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(Limits, options=options, metrics=metrics)

    def check(name, version):
        if name != served.name or version not in (None, served.version):
            which = f"Specific({name}, {version})" if version else None
            raise HTTPException(
                404,
                f"Servable not found for request: {which or f'Latest({name})'}",
            )

    @app.post(_MODEL + ":predict")
    @app.post(_VERSION + ":predict")
    async def predict(
        request: Request, name: str, version: str | None = None
    ) -> Response:
        check(name, version)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "the body must not be compressed")
        loop = asyncio.get_running_loop()
        computed = loop.run_in_executor(
            worker,
            rest.predict,
            await request.body(),
            served.predictor.signatures,
            options.most_frames,
        )
        try:
            # Gives up its place in the queue, unless it is being computed.
            answer = await asyncio.wait_for(computed, options.timeout_s)
        except asyncio.TimeoutError:
            raise HTTPException(
                503,
                f"the answer was not there within {options.timeout_s} s",
                {"retry-after": "1"},
            ) from None
        return Response(answer, media_type="application/json")

    @app.get(_MODEL + ":predict")
    @app.get(_VERSION + ":predict")
    async def asked(name: str, version: str | None = None) -> Response:
        raise HTTPException(
            405, "predictions are asked for by POST", {"allow": "POST"}
        )

    @app.get(_MODEL)
    @app.get(_VERSION)
    async def status(name: str, version: str | None = None) -> Response:
        check(name, version)
        available = {
            "version": served.version,
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        return _json({"model_version_status": [available]})

    @app.get(_MODEL + "/metadata")
    @app.get(_VERSION + "/metadata")
    async def metadata(name: str, version: str | None = None) -> Response:
        check(name, version)
        specification = {
            "name": name,
            "signature_name": "",
            "version": served.version,
        }
        return _json({"model_spec": specification, "metadata": served.metadata})

    @app.websocket("/live")
    async def frames(
        socket: WebSocket,
        faces: Annotated[int, Query(ge=1, le=8)] = 1,
        fps: Annotated[float | None, Query(ge=1, le=120)] = None,
        wait: bool = False,
    ) -> None:
        origin, host = map(socket.headers.get, ("origin", "host"))
        foreign = origin is not None and (
            urllib.parse.urlsplit(origin).netloc != host
        )
        if live is None or foreign:
            return await socket.close()  # which answers 403
        await socket.accept()
        await live.talk(socket, faces=faces, fps=fps, wait=wait)

    @app.exception_handler(WebSocketRequestValidationError)
    async def mistaken(
        socket: WebSocket, error: WebSocketRequestValidationError
    ) -> None:
        (_, name), words = (error.errors()[0][x] for x in ("loc", "msg"))
        await socket.accept()
        await socket.close(1008, f"{name}: {words}")

    @app.get("/healthz")
    async def health() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz")
    async def readiness() -> Response:
        if metrics.open >= options.queue:
            raise HTTPException(503, "the queue is full")
        return _json({"status": "ready"})

    @app.get("/metrics")
    async def measured() -> Response:
        return Response(
            prometheus_client.generate_latest(metrics.registry),
            media_type=prometheus_client.CONTENT_TYPE_LATEST,
        )

    @app.get("/")
    async def page() -> Response:
        # The page asks no other host for anything, and runs no other script.
        policy = "default-src 'self'; img-src data:; media-src blob:"
        return FileResponse(
            STATIC / "index.html", headers={"content-security-policy": policy}
        )

    app.mount("/static", StaticFiles(directory=STATIC))

    @app.exception_handler(HTTPException)
    async def refused(_, error: HTTPException) -> Response:
        return _error(error.status_code, error.detail, error.headers)

    @app.exception_handler(UserError)
    async def wrong(_, error: UserError) -> Response:
        return _error(400, str(error))

    @app.exception_handler(Exception)  # which the log shows
    async def failed(_, error: Exception) -> Response:
        return _error(500, "the server failed at this request; see its log")

    return app
