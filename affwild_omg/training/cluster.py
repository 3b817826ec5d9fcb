"""Training on several machines: who takes part, and that they all agree.

Each process is a worker with a number; worker 0 is the chief, which alone
writes. They meet before TensorFlow joins them, whose own waiting can neither be
interrupted nor told who is missing. After that TensorFlow's coordination
service watches over them.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import signal
import socket
import time
import zlib
from collections.abc import Iterable, Sequence

from absl import logging

from affwild_omg.cli.errors import UserError, listed

WAIT_S = 600.0  # for workers that have not come yet
RETRY_S = 0.5
FIRST_PORT, PORTS = 20_000, 10_000  # below those that systems give away


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a training, and which of them this process is.

    Attributes:
        workers: "host:port" of each.
        index: number of this one.
        source: what names them, for messages.
    """

    workers: tuple[str, ...]
    index: int
    source: str

    @property
    def chief(self) -> bool:
        """Whether this worker is the one that writes."""
        return self.index == 0

    def name(self, index: int) -> str:
        """Returns how messages call a worker."""
        return f"worker {index} ({self.workers[index]})"

    def meet(self, facts: Sequence[str]) -> None:
        """Waits until all workers are there, and checks that they agree.

        Args:
            facts: what must be the same for all, such as "--seed=0".

        Raises:
            UserError: this worker's address cannot be used, others do not
                come within WAIT_S, or their facts are others; then all
                workers raise it.
        """
        deadline = time.monotonic() + WAIT_S
        with self._listener() as listener:
            if self.chief:
                self._gather(listener, list(facts), deadline)
            else:
                self._report(list(facts), deadline)
        logging.info(
            "%s of %d trains%s",
            *(self.name(self.index), len(self.workers)),
            "" if self.chief else f"; {self.name(0)} tells how, and writes",
        )
        if not self.chief:
            logging.set_verbosity(logging.ERROR)

    def _listener(self):
        """Returns a socket at this worker's port, which nobody else has."""
        host, port = _parts(self.workers[self.index])
        what = f"{self.source}: {self.workers[self.index]}, this worker's own, "
        try:
            family, *_, place = socket.getaddrinfo(
                host, 0, type=socket.SOCK_STREAM
            )[0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind(place)
        except OSError as error:
            raise UserError(
                f"{what}is not an address of this machine "
                f"({error.strerror or error}); give each machine its own index"
            ) from error
        try:
            return socket.create_server(("", port), family=family)
        except OSError as error:
            raise UserError(
                f"{what}has a port that cannot be had "
                f"({error.strerror or error}); end what uses it, or name "
                "another port on all machines"
            ) from error

    def _gather(self, listener, own, deadline):
        """Collects all workers' facts; tells them what is wrong, if any."""
        calls, told = {}, None
        while missing := [
            self.name(i) for i in range(1, len(self.workers)) if i not in calls
        ]:
            if told != missing:
                logging.info("waiting for %s", listed(told := missing))
            if time.monotonic() > deadline:
                break
            listener.settimeout(RETRY_S)  # an interruption is heard after it
            with contextlib.suppress(OSError):
                call, _ = listener.accept()
                call.settimeout(10 * RETRY_S)
                said = {}
                # Anybody may call.
                with contextlib.suppress(ValueError, LookupError, TypeError):
                    said = dict(json.loads(_line(call)))
                index, theirs = said.get("index"), said.get("workers")
                known = theirs == list(self.workers) and "facts" in said
                if known and index in range(1, len(self.workers)):
                    calls[index] = call, said["facts"]
                else:
                    call.close()
            calls = {i: x for i, x in calls.items() if not _ended(x[0])}
        wrong = ""
        if missing:
            wrong = self._absent(missing)
        for index, (_, facts) in sorted(calls.items()):
            wrong = wrong or self._difference(index, facts, own)
        for call, _ in calls.values():
            with call, contextlib.suppress(OSError):
                call.settimeout(10 * RETRY_S)
                call.sendall(json.dumps(wrong).encode() + b"\n")
        if wrong:
            raise UserError(wrong)

    def _absent(self, names):
        return (
            f"{self.source}: {listed(names)} did not come within {WAIT_S:g} s; "
            "start the same command on each machine, or see in its own output "
            "why it ended"
        )

    def _difference(self, index, facts, own):
        theirs = [fact for fact in facts if fact not in own]
        mine = [fact for fact in own if fact not in facts]
        if not (theirs or mine):
            return ""
        return (
            f"{self.name(index)} has {listed(theirs)}, and {self.name(0)} has "
            f"{listed(mine)}; all workers need the same flags, records and "
            "versions, and a workdir that they all see"
        )

    def _report(self, own, deadline):
        """Tells the chief this worker's facts; raises what it answers."""
        chief, told = self.name(0), False
        said = {"workers": self.workers, "index": self.index, "facts": own}
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                call = socket.create_connection(_parts(self.workers[0]), 5)
                break
            if not told:
                logging.info("waiting for %s", chief)
                told = True
            time.sleep(RETRY_S)
        else:
            raise UserError(self._absent([chief]))
        with call:
            # The chief itself waits for the others.
            call.settimeout(max(deadline - time.monotonic(), 0) + 10)
            wrong = None
            with contextlib.suppress(OSError, ValueError):
                call.sendall(json.dumps(said).encode() + b"\n")
                wrong = json.loads(_line(call))
        if not isinstance(wrong, str):
            raise UserError(
                f"{chief} trains already, ended, or had other {self.source}; "
                "its own output tells which"
            )
        if wrong:
            raise UserError(wrong)

    def strategy(self):
        """Joins the workers; returns their strategy, of all their devices.

        To be called before TensorFlow computes anything.

        Raises:
            UserError: one of them is gone.
        """
        import tensorflow as tf

        # It would tell of every sum.
        tf.get_logger().setLevel("ERROR")
        gpus = len(tf.config.list_physical_devices("GPU"))
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(self.workers)}),
            task_type="worker",
            task_id=self.index,
            num_accelerators={"GPU": gpus},
        )
        handler = signal.getsignal(signal.SIGTERM)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
        except tf.errors.OpError as error:
            raise self.lost(error, "nothing was trained") from error
        finally:
            # TensorFlow takes the order to end for itself, and goes on.
            signal.signal(signal.SIGTERM, handler)

    def agree(self, strategy, variables: Iterable, what: str) -> None:
        """Waits for all workers, and checks that they hold the same.

        Args:
            strategy: that joined them.
            variables: of Keras.
            what: they are, for the message.

        Raises:
            UserError: a worker's differ from the chief's; all raise it.
        """
        import tensorflow as tf

        digest = hashlib.sha256()
        for variable in variables:
            digest.update(variable.numpy().tobytes())
        number = int.from_bytes(digest.digest()[:7], "big")
        own = strategy.experimental_distribute_values_from_function(
            lambda _: tf.constant([number], tf.int64)
        )
        found = strategy.gather(own, axis=0).numpy()
        for index, (number, *_) in enumerate(
            found.reshape(len(self.workers), -1).tolist()
        ):
            if number != found[0]:
                raise UserError(
                    f"{what} of {self.name(index)} are not those of "
                    f"{self.name(0)}; files that they come from must be the "
                    "same for all workers"
                )

    def lost(self, error: Exception, kept: str) -> UserError:
        """Returns what to tell when others are gone.

        Args:
            error: TensorFlow's.
            kept: what is left of the training.
        """
        named = map(int, re.findall(r"/task:(\d+)", str(error)))
        others = [self.name(i) for i in named if i != self.index]
        who = others[0] if others else "another worker"
        return UserError(
            f"{who} ended, or cannot be reached any more; its own output may "
            f"tell why; {kept}"
        )


def of_environment(*, slurm: bool = False) -> Cluster | None:
    """Returns the cluster that the environment names; None for one process.

    Args:
        slurm: take the tasks of this Slurm step, in place of TF_CONFIG.

    Raises:
        UserError: it names no workers, or not which of them this one is.
    """
    if slurm:
        return _of_slurm(os.environ)
    text = os.environ.get("TF_CONFIG")
    return _of_tf_config(text) if text else None


def _of_tf_config(text):
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        workers = [*jobs.get("chief", ()), *jobs.get("worker", ())]
        kind, index = task.get("type", "worker"), int(task["index"])
        own = jobs[kind][index] if index >= 0 else None
        ports = [_parts(worker)[1] for worker in workers]
        if (
            own not in workers
            or len(set(workers)) < len(workers)
            or jobs.keys() - {"chief", "worker"}
            or not all(0 < port < 2**16 for port in ports)
        ):
            raise ValueError
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG={text} does not name workers, each once, and which of "
            'them this one is; it must be like {"cluster": {"worker": '
            '["host0:20000", "host1:20000"]}, "task": {"type": "worker", '
            '"index": 0}}'
        ) from error
    return _cluster(workers, workers.index(own), "TF_CONFIG")


def _of_slurm(variables):
    # The class that has these functions takes hosts by name, n10 before n9,
    # which is not how Slurm numbers tasks, and fails without a GPU.
    from tensorflow.python.distribute.cluster_resolver import (
        slurm_cluster_resolver as resolver,
    )

    try:
        hosts = resolver.expand_hostlist(variables["SLURM_STEP_NODELIST"])
        tasks = resolver.expand_tasks_per_node(
            variables["SLURM_STEP_TASKS_PER_NODE"]
        )
        index = int(variables["SLURM_PROCID"])
        step = f"{variables['SLURM_JOB_ID']}.{variables['SLURM_STEP_ID']}"
        # Of its own, so that two jobs may share a machine.
        port = FIRST_PORT + zlib.crc32(step.encode()) % PORTS
        places = [
            (host, port + i)
            for host, count in zip(hosts, tasks, strict=True)
            for i in range(count)
        ]
        host, _ = places[index]
    except KeyError as error:
        raise UserError(
            f"--slurm: {error.args[0]} is not set; start train.py by srun, "
            "in a job"
        ) from error
    except (ValueError, LookupError) as error:
        raise UserError(
            f"--slurm: the variables SLURM_STEP_* cannot be read ({error}); "
            "name the workers by TF_CONFIG instead"
        ) from error
    if variables.get("SLURMD_NODENAME", host) != host:
        raise UserError(
            f"--slurm: task {index} is not on {host}, because tasks are not "
            "numbered machine by machine; give srun --distribution=block"
        )
    workers = [f"{host}:{port}" for host, port in places]
    return _cluster(workers, index, "--slurm")


def _cluster(workers, index, source):
    if len(workers) == 1:
        return None
    return Cluster(tuple(workers), index, source)


def _parts(worker):
    """Returns the host and the port of "host:port"."""
    host, _, port = worker.rpartition(":")
    if not host:
        raise ValueError(f"{worker!r} is not host:port")
    return host.strip("[]"), int(port)


def _line(call):
    """Reads a line; "" if the other side ended."""
    with call.makefile(encoding="utf-8") as file:
        return file.readline()


def _ended(call):
    """Tells whether the other side has closed a connection."""
    try:
        call.settimeout(0)
        return not call.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
