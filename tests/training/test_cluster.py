"""Processes that train together: who they are, and that they agree.

Slurm is not here: processes get the variables that its srun sets.
"""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from affwild_omg.cli.errors import UserError
from affwild_omg.cli.options import to_flags
from affwild_omg.training import cluster
from tests.conftest import ROOT, free_ports
from tests.training.test_checkpoints import DRIVER, read, small_training


def of_tf_config(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    return cluster.of_environment()


def config(workers, index, kind="worker", **jobs):
    jobs = {"worker": workers} | jobs
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


def test_tf_config_names_the_workers(monkeypatch):
    found = of_tf_config(monkeypatch, config(["a:1", "b:2"], 1))
    assert (found.workers, found.index, found.chief) == (("a:1", "b:2"), 1, 0)
    found = of_tf_config(
        monkeypatch, config(["b:2"], 0, "chief", chief=["a:1"])
    )
    assert (found.workers, found.index, found.chief) == (("a:1", "b:2"), 0, 1)
    assert of_tf_config(monkeypatch, config(["a:1"], 0)) is None
    monkeypatch.delenv("TF_CONFIG")
    assert cluster.of_environment() is None


@pytest.mark.parametrize(
    "text",
    [
        "worker 0 of 2",
        "[]",
        "{}",
        '{"cluster": {}, "task": {"index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}}',
        config([], 0),
        config(["a:1", "b:2"], 2),
        config(["a:1", "b:2"], -1),
        config(["a:1", "b:2"], 0, "evaluator"),
        config(["a:1", "b:2"], 0, ps=["c:3"]),
        config(["a:1", "a:1"], 0),
        config(["a", "b:2"], 0),
        config(["a:1", "b:99999"], 0),
    ],
)
def test_a_tf_config_that_cannot_be_used_is_told(monkeypatch, text):
    with pytest.raises(UserError, match="TF_CONFIG=.* must be like") as raised:
        of_tf_config(monkeypatch, text)
    assert text in str(raised.value)


# What `srun -n 2` on one host, and on two with three tasks, sets.
ONE_HOST = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NODELIST": "node1",
    "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_PROCID": "1",
    "SLURMD_NODENAME": "node1",
}
TWO_HOSTS = ONE_HOST | {
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "node[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
}


@pytest.fixture
def of_slurm(tf, monkeypatch):
    def read(variables):
        for name in [x for x in os.environ if x.startswith("SLURM")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return cluster.of_environment(slurm=True)

    return read


def test_slurm_numbers_the_tasks_of_a_step(of_slurm):
    found = of_slurm(ONE_HOST)
    hosts, ports = zip(*(x.split(":") for x in found.workers), strict=True)
    assert (hosts, found.index) == (("node1", "node1"), 1)
    first, second = map(int, ports)
    assert second == first + 1 and 20_000 <= first < 30_000
    other = of_slurm(ONE_HOST | {"SLURM_STEP_ID": "1"})
    assert set(other.workers).isdisjoint(found.workers)
    # In the order of the list, in which node9 is before node10.
    hosts = ["node9", "node9", "node10"]
    for index, host in enumerate(hosts):
        own = {"SLURM_PROCID": str(index), "SLURMD_NODENAME": host}
        found = of_slurm(TWO_HOSTS | own)
        assert found.index == index
        assert [x.split(":")[0] for x in found.workers] == hosts
    # An allocation is no step, and one task is no cluster.
    assert cluster.of_environment() is None
    alone = {"SLURM_PROCID": "0", "SLURM_STEP_TASKS_PER_NODE": "1"}
    assert of_slurm(ONE_HOST | alone) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SLURMD_NODENAME": "node10"}, "task 1 is not on node9, .*=block"),
        ({"SLURM_STEP_NODELIST": "node[9"}, "cannot be read .* TF_CONFIG"),
        ({"SLURM_PROCID": "3"}, "cannot be read .* by TF_CONFIG"),
    ],
)
def test_a_slurm_step_that_cannot_be_used_is_told(of_slurm, change, message):
    with pytest.raises(UserError, match=f"--slurm: .*{message}"):
        of_slurm(TWO_HOSTS | change)
    with pytest.raises(
        UserError, match="SLURM_STEP_NODELIST is not set; .*srun"
    ):
        of_slurm({"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0"})


def meet(facts, workers=None, late=()):
    """Lets a worker meet for each list of facts; returns what each raised.

    Those that are late come after so many seconds.
    """
    late = dict(late)
    workers = workers or [
        f"127.0.0.1:{port}" for port in free_ports(len(facts))
    ]
    raised = {}

    def call(index):
        try:
            own = cluster.Cluster(tuple(workers), index, "TF_CONFIG")
            raised[index] = own.meet(facts[index])
        except UserError as error:
            raised[index] = str(error)

    threads = [
        threading.Timer(late.get(i, 0), call, [i])
        for i, own in enumerate(facts)
        if own
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return workers, raised


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Keeps the tests short, and the others' words as loud as they are."""
    monkeypatch.setattr(cluster, "RETRY_S", 0.05)
    monkeypatch.setattr(cluster.logging, "set_verbosity", lambda level: None)


def test_workers_meet_when_all_are_there(caplog):
    with caplog.at_level("INFO", logger="absl"):
        workers, raised = meet([["--seed=0", "1 GPU"]] * 3, late={0: 0.5})
    assert raised == {0: None, 1: None, 2: None}
    told = set(caplog.messages)
    assert f"waiting for worker 0 ({workers[0]})" in told
    assert any(x.startswith("waiting for worker 1 (") for x in told)
    assert f"worker 0 ({workers[0]}) of 3 trains" in told
    assert (
        f"worker 2 ({workers[2]}) of 3 trains; worker 0 ({workers[0]}) tells "
        "how, and writes"
    ) in told


def test_workers_that_differ_are_told_to_all():
    workers, raised = meet(
        [["--seed=0", "--ema=0.0"]] * 2 + [["--seed=1", "--ema=0.0"]]
    )
    assert set(raised.values()) == {
        f"worker 2 ({workers[2]}) has --seed=1, and worker 0 ({workers[0]}) "
        "has --seed=0; all workers need the same flags, records and versions, "
        "and a workdir that they all see"
    }
    assert len(raised) == 3


def test_a_worker_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "WAIT_S", 0.3)
    workers, raised = meet([["x"], ["x"], None])
    assert raised == dict.fromkeys(
        (0, 1),
        f"TF_CONFIG: worker 2 ({workers[2]}) did not come within 0.3 s; start "
        "the same command on each machine, or see in its own output why it "
        "ended",
    )
    workers, raised = meet([None, ["x"]])
    assert raised[1].startswith(f"TF_CONFIG: worker 0 ({workers[0]}) did not")


def test_a_worker_that_ended_while_it_waited_is_waited_for():
    workers = [f"127.0.0.1:{port}" for port in free_ports(3)]
    said = {"workers": workers, "index": 1, "facts": ["x"]}

    def call_and_end():
        host, port = workers[0].split(":")
        for _ in range(100):
            try:
                with socket.create_connection((host, int(port))) as early:
                    early.sendall(json.dumps(said).encode() + b"\n")
                return
            except OSError:
                threading.Event().wait(0.05)

    ended = threading.Thread(target=call_and_end)
    ended.start()
    _, raised = meet([["x"], ["x"], ["x"]], workers, late={1: 1.5, 2: 1.0})
    ended.join()
    assert raised == {0: None, 1: None, 2: None}


def test_strangers_who_call_are_no_workers():
    """What is no JSON, no worker's, or of a number that there is not."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    said = json.dumps({"workers": workers, "index": 2, "facts": []})
    calls = []

    def call():
        for text in (b"\xfe\xff\n", b"[]\n", b"3\n", f"{said}\n".encode()):
            address = ("127.0.0.1", int(workers[0].split(":")[1]))
            calls.append(socket.create_connection(address, 5))
            calls[-1].sendall(text)

    threading.Timer(0.5, call).start()
    _, raised = meet([["x"], ["x"]], workers, late={1: 2.0})
    assert raised == {0: None, 1: None}
    assert len(calls) == 4


def test_a_chief_that_trains_already_is_told():
    """Its port speaks TensorFlow's own language by then."""
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)) as chief:

        def answer():
            call, _ = chief.accept()
            call.sendall(b"\x00\x00\x18\xfe\n")
            call.close()

        threading.Timer(0.1, answer).start()
        workers = [f"127.0.0.1:{port}", f"127.0.0.1:{free_ports(1)[0]}"]
        _, raised = meet([None, ["x"]], workers)
    assert raised[1].startswith(f"worker 0 ({workers[0]}) trains already, ")


def test_who_is_lost_is_read_from_the_error():
    own = cluster.Cluster(("a:1", "b:2", "c:3"), 0, "TF_CONFIG")
    # As TensorFlow has it, some of it about this worker.
    text = (
        "node on /job:worker/replica:0/task:0/device:CPU:0: Collective ops is "
        "aborted by: Error reported from /job:worker/task:2: Task "
        "/job:worker/replica:0/task:2 heartbeat timeout."
    )
    assert str(own.lost(RuntimeError(text), "nothing was trained")) == (
        "worker 2 (c:3) ended, or cannot be reached any more; its own output "
        "may tell why; nothing was trained"
    )
    assert str(own.lost(RuntimeError(""), "")).startswith(
        "another worker ended"
    )


def test_an_address_that_cannot_be_had_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        _, raised = meet([["x"]], [taken])
    assert raised[0].startswith(
        f"TF_CONFIG: {taken}, this worker's own, has a port that cannot be had"
    )
    for elsewhere in ("203.0.113.1:22000", "no-such-host.invalid:22000"):
        _, raised = meet([["x"]], [elsewhere])
        assert raised[0].startswith(
            f"TF_CONFIG: {elsewhere}, this worker's own, is not an address of "
            "this machine ("
        )


def test_train_tells_a_bad_tf_config_at_once(small_records, tmp_path):
    """In one line, before TensorFlow is imported, and with nothing written."""
    workdir = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "train.py", f"--records={small_records}"]
        + [f"--workdir={workdir}"],
        cwd=ROOT,
        env=os.environ | {"TF_CONFIG": config(["a:1", "b:2"], 2)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2 and not workdir.exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: TF_CONFIG=") and "must be like" in line


@pytest.fixture(scope="module")
def options(tf, tmp_path_factory):
    root = tmp_path_factory.mktemp("cluster")

    def labels(key, frames):
        # Only two are there: some batches have nothing to compare.
        return np.full((frames, 2), 0.5 if key[0] in "abc" else -0.3)

    return small_training(
        root,
        labels,
        batch_size=3,  # of 12 windows, so that one worker has a window more
        augment=["mirror"],
        ema=0.5,
        epochs=2,
        steps_per_epoch=5,
    )


def train(options, *arguments, kill=None, variables=None):
    """Trains in two processes; returns (exit code, standard error) of each.

    Args:
        options: of both.
        *arguments: more of the command line.
        kill: the step before which worker 1 ends itself, and the signal.
        variables: a function of an index gives a worker's environment.
    """
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    command = [*arguments, *to_flags(options, defaults=False)]
    processes = []
    for index in range(2):
        own = {"TF_CONFIG": config(workers, index)}
        script = ["train.py"]
        if kill and index:
            script = ["-c", DRIVER, *map(str, map(int, kill))]
        processes.append(
            subprocess.Popen(
                [sys.executable, *script, *command],
                cwd=ROOT,
                env=os.environ | (variables(index) if variables else own),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        told = [x.communicate(timeout=400)[1] for x in processes]
    finally:
        for process in processes:
            process.kill()
    return [(x.returncode, y) for x, y in zip(processes, told, strict=True)]


@pytest.fixture(scope="module")
def whole(options):
    """What an undisturbed training in two processes leaves."""
    for code, told in train(options):
        assert code == 0, told
    return read(options.workdir)


@pytest.mark.slow
def test_two_processes_train_as_one(tf, options, whole, tmp_path):
    """With two replicas: the same loss, weights, score and skipped batches."""
    from affwild_omg.training import loop
    from affwild_omg.weights import model_file

    mirrored = tf.distribute.MirroredStrategy
    one = dataclasses.replace(options, workdir=str(tmp_path / "one"))
    loop.train(one, strategy=mirrored(["CPU:0", "CPU:1"]))
    alone = read(one.workdir)["history"]["epochs"]
    for first, second in zip(alone, whole["history"]["epochs"], strict=True):
        assert first["skipped_batches"] == second["skipped_batches"]
        assert first["loss"] == pytest.approx(second["loss"], abs=1e-6)
        for target in ("valence", "arousal"):
            ccc, other = (
                x["validation"][target]["ccc"] for x in (first, second)
            )
            assert ccc == pytest.approx(other, abs=1e-6)
    assert sum(x["skipped_batches"] for x in alone) > 0
    for name in ("last.keras", "best.keras"):
        models = [
            model_file.load_model(pathlib.Path(x.workdir, name))[0]
            for x in (one, options)
        ]
        for first, second in zip(*(x.weights for x in models), strict=True):
            np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.slow
def test_two_processes_ask_one_data_service(
    options, whole, windows_servers, tmp_path
):
    helped = dataclasses.replace(
        options, data_service=windows_servers[0], workdir=str(tmp_path / "run")
    )
    for code, told in train(helped):
        assert code == 0, told
    assert read(helped.workdir) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "ended"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)],
)
def test_a_worker_that_is_killed_ends_the_others_and_all_go_on(
    options, whole, tmp_path, number, ended
):
    """By the tasks of one host that Slurm's variables name."""
    own = dataclasses.replace(options, workdir=str(tmp_path / "run"))

    def slurm(index):
        return ONE_HOST | {
            "SLURM_STEP_NODELIST": "localhost",
            "SLURMD_NODENAME": "localhost",
            "SLURM_PROCID": str(index),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_STEP_ID": str(step),
        }

    step = int(number)  # Another has other ports.
    (code, told), (killed, _) = train(
        own, "--slurm", kill=(7, number), variables=slurm
    )
    assert killed == ended and code == 2
    assert "Traceback" not in told
    last = told.splitlines()[-1]
    assert last.startswith("error: worker 1 (localhost:")
    assert last.endswith(
        f"{own.workdir} keeps its last checkpoint, if there is one, from which "
        "the same commands with --resume go on"
    )
    step += 100
    for code, told in train(own, "--slurm", "--resume", variables=slurm):
        assert code == 0, told
    assert read(own.workdir) == whole
