"""The server on a Ray cluster of this machine alone."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.serving.test_saved_model import make_inputs


def replicas_of(pid):
    """Lists the processes below another that are replicas."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text()
            parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])
        except OSError:  # ended meanwhile
            continue
    below = {pid}
    while more := {x for x, y in parents.items() if y in below} - below:
        below |= more
    commands = {
        x: pathlib.Path(f"/proc/{x}/cmdline").read_text() for x in below
    }
    return [x for x, y in commands.items() if y.startswith("ray::ServeReplica")]


@pytest.mark.slow
def test_a_replica_that_is_killed_costs_no_request(served, small_saved_model):
    pytest.importorskip("ray.serve", reason="needs pip install -e .[cluster]")
    inputs = make_inputs(1, 2)
    inputs["mask"][:] = True
    expected = served.predictor.predict(inputs)[0, :, 0]
    given = {name: inputs[name].tolist() for name in ("frames", "landmarks")}
    body = json.dumps({"inputs": given}).encode()
    with subprocess.Popen(
        [sys.executable, "-m", "affwild_omg.serve", "--replicas=2", "--live=0"]
        + [f"--model={small_saved_model}", "--port=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            address = re.search(r"by 2 replicas at (http://.*)/", line)[1]
            url = f"{address}/v1/models/affwild_omg:predict"
            failures = []

            def answer(_):
                for _ in range(100):
                    try:
                        with urllib.request.urlopen(url, body, 60) as reply:
                            return json.load(reply)["outputs"]["valence"][0]
                    except (OSError, http.client.HTTPException) as error:
                        code = getattr(error, "code", 0)
                        assert code == 0 or code == 429 or code >= 500
                        failures.append(code)
                        time.sleep(0.3)
                raise AssertionError(f"no answer: {failures}")

            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                answers = [pool.submit(answer, n) for n in range(150)]
                while sum(x.done() for x in answers) < 30:
                    time.sleep(0.05)
                before = replicas_of(process.pid)
                os.kill(before[0], signal.SIGKILL)
                values = [x.result() for x in answers]
            assert len(before) == 2
            assert len(values) == 150
            np.testing.assert_allclose(
                values, np.tile(expected, (150, 1)), atol=1e-6
            )
            # It is started again.
            for _ in range(600):
                now = set(replicas_of(process.pid))
                if len(now) == 2 and before[0] not in now:
                    break
                time.sleep(0.1)
            assert len(now) == 2 and before[1] in now
            # What is wrong is told as without Ray.
            with pytest.raises(urllib.error.HTTPError) as told:
                urllib.request.urlopen(url, b"{}")
            assert told.value.code == 400
            assert "either instances" in json.load(told.value)["error"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
