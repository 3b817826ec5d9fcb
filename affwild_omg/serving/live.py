"""Live frames over a WebSocket: pictures come in, what they show goes out.

Each connection has a tracker and a state of its own. The newest picture counts:
those that come while one is worked on are dropped but for the last, and the
next answer says how many. A client that waits for each answer loses none.
"""

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import prometheus_client
from starlette.websockets import WebSocket, WebSocketDisconnect

from affwild_omg.cli.errors import UserError
from affwild_omg.faces import landmarks, pictures
from affwild_omg.faces.detection import Detector
from affwild_omg.faces.tracking import landmarks_in_frame
from affwild_omg.inference.predictor import Predictor
from affwild_omg.serving import rest

MOST_BYTES = 4 << 20  # of a picture's file
MOST_PIXELS = 4096 * 2304
_REFUSED, _BUSY = 1008, 1013  # codes of RFC 6455 and its registry


class _OneAtATime:
    """Lets threads call a function one after another."""

    def __init__(self, function):
        self._function = function
        self._lock = threading.Lock()

    def __call__(self, *args):
        with self._lock:
            return self._function(*args)


class Live:
    """Answers the pictures of several connections."""

    def __init__(
        self,
        predictor: Predictor,
        *,
        most: int,
        patience_s: float,
        registry: prometheus_client.CollectorRegistry,
    ):
        """Loads the face detector (some seconds).

        Args:
            predictor: of a model that has a step.
            most: connections at a time.
            patience_s: seconds without a picture after which one is closed.
            registry: of the metrics.

        Raises:
            UserError: the model cannot step.
        """
        self._predictor = predictor
        self._most = most
        self._patience_s = patience_s
        self._pool = ThreadPoolExecutor(most)
        self._open = 0
        self._parts = {
            "detector": _OneAtATime(Detector()),
            "landmarker": landmarks.load(predictor.treatment.landmarks),
        }
        self._frames = prometheus_client.Counter(
            "affwild_omg_live_frames",
            "Live frames: answered, dropped for newer ones, or unreadable.",
            ["outcome"],
            registry=registry,
        )
        prometheus_client.Gauge(
            "affwild_omg_live_connections",
            "Connections for live frames that are open.",
            registry=registry,
        ).set_function(lambda: self._open)
        with predictor.stream(wait=True, **self._parts) as stream:
            stream.step(np.zeros((240, 320, 3), np.uint8))

    async def talk(
        self, socket: WebSocket, fps: float | None, **settings: object
    ) -> None:
        """Answers the pictures of a connection until it ends.

        Args:
            socket: just accepted.
            fps: pictures a second by which their times are told, > 0; None
                for the times at which they come.
            **settings: faces and wait, see `Predictor.stream`.
        """
        if fps is not None:
            settings["fps"] = fps
        if self._open >= self._most:
            return await socket.close(
                _BUSY, f"{self._most} connections are open; try again later"
            )
        self._open += 1
        try:
            stream = await self._run(
                lambda: self._predictor.stream(**settings, **self._parts)
            )
            try:
                await self._answer_all(socket, stream, fps is None)
            finally:
                await self._run(stream.__exit__, None, None, None)
        except WebSocketDisconnect:
            pass
        except asyncio.TimeoutError:
            await socket.close(
                _REFUSED, f"nothing came, or went, in {self._patience_s} s"
            )
        finally:
            self._open -= 1

    def close(self) -> None:
        """Ends the threads, once the connections are closed."""
        self._pool.shutdown()

    def _run(self, function, *args):
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, function, *args)

    async def _answer_all(self, socket, stream, timed):
        newest = asyncio.Queue(1)
        receiving = asyncio.create_task(self._receive(socket, newest))
        last, first_s = 0, None
        try:
            while True:
                waiting = asyncio.create_task(newest.get())
                await asyncio.wait(
                    [waiting, receiving], return_when=asyncio.FIRST_COMPLETED
                )
                if receiving.done():
                    waiting.cancel()
                    return receiving.result()
                number, data, time_s = waiting.result()
                first_s = time_s if first_s is None else first_s
                answer = {"frame": number, "dropped": number - last - 1}
                last = number
                answer |= await self._run(
                    *(self._answer, stream, data, number - 1),
                    time_s - first_s if timed else None,
                )
                self._frames.labels("dropped").inc(answer["dropped"])
                outcome = "unreadable" if "error" in answer else "answered"
                self._frames.labels(outcome).inc()
                text = rest.to_json(answer).decode()
                await asyncio.wait_for(socket.send_text(text), self._patience_s)
        finally:
            receiving.cancel()

    async def _receive(self, socket, newest):
        number = 0
        while True:
            message = await asyncio.wait_for(socket.receive(), self._patience_s)
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            number += 1
            if newest.full():
                newest.get_nowait()
            data, time_s = message.get("bytes"), time.monotonic()
            newest.put_nowait((number, data, time_s))

    def _answer(self, stream, data, number, time_s):
        """Returns what a picture shows, or what is wrong with it."""
        try:
            frame = _decode(data)
        except UserError as error:
            return {"error": str(error)}
        faces = [
            {
                "track": track,
                "box": [round(x, 1) for x in face.box],
                "confidence": round(face.confidence, 4),
                "landmarks": landmarks_in_frame(face).round(1).tolist(),
                "valence": _number(valence),
                "arousal": _number(arousal),
            }
            for track, valence, arousal, face in stream.step(
                frame, number, time_s
            )
        ]
        height, width = frame.shape[:2]
        return {
            "width": width,
            "height": height,
            "faces": faces,
            "reason": stream.reason,
        }


def _decode(data):
    if data is None:
        raise UserError("a message must be a picture, not a text")
    return pictures.decode(data, "the picture", MOST_PIXELS)


def _number(value):
    return round(value, 6) if math.isfinite(value) else None
