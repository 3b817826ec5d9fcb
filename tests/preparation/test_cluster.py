"""A Ray cluster of two nodes on this machine makes the records of one."""

import os
import signal
import time

import pytest

from affwild_omg import __version__
from affwild_omg.cli.errors import UserError
from affwild_omg.corpora.clips import Clip
from tests.preparation.conftest import CLIPS, tree

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes():
    """Starts the head of a cluster, which prepares nothing, and two nodes."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from ray import cluster_utils

    # Ray takes 127.0.0.1 for any address of this machine.
    cluster = cluster_utils.Cluster()
    cluster.add_node(num_cpus=0, node_ip_address="127.0.0.2")
    yield (
        cluster,
        [
            cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{number}")
            for number in (3, 4)
        ],
    )
    cluster.shutdown()


@pytest.fixture
def cluster(tf):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from affwild_omg.preparation import cluster

    return cluster


def flags(nodes):
    return "--engine=ray", f"--ray_address={nodes[0].address}"


def test_two_nodes_make_the_records_of_one(start, local, nodes, tmp_path):
    process = start(tmp_path / "records", *flags(nodes))
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert tree(tmp_path / "records") == local


def test_a_node_that_dies_costs_nothing(start, local, nodes, tmp_path):
    cluster, (_, second) = nodes
    staged = tmp_path / ".records.partial"
    process = start(tmp_path / "records", *flags(nodes))
    # When two clips are done, and each node is at another one.
    while len(list(staged.glob("reports/train/*/*.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    cluster.remove_node(second, allow_graceful=False)
    done = len(list(staged.glob("reports/train/*/*.json")))
    assert done < CLIPS - 1
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert tree(tmp_path / "records") == local
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_a_stop_is_an_interruption(start, local, nodes, tmp_path):
    staged = tmp_path / ".records.partial"
    process = start(tmp_path / "records", *flags(nodes))
    while not list(staged.glob("reports/train/*/*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    text, _ = process.communicate()
    assert process.returncode == 130, text
    assert "interrupted: finished clips are kept" in text
    # On this machine alone, which goes on with them.
    process = start(tmp_path / "records", "--workers=1")
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert tree(tmp_path / "records") == local


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "ray://a:1"])
def test_no_cluster_is_told_in_a_line(cluster, tmp_path, address):
    with (
        pytest.raises(UserError, match=f"--ray_address={address}: no Ray clus"),
        cluster.ray_map(
            print, [1], address=address, folder=tmp_path, died=print
        ) as results,
    ):
        list(results)


def test_a_node_that_lacks_something_is_told(cluster, tmp_path):
    clip = Clip(split="train", video="v", utterance="u", path=tmp_path / "u")
    gone = tmp_path / "gone"
    for found, folder, version, words in (
        (False, tmp_path, "0.0.0", "has affwild_omg .*, not 0.0.0; install"),
        (False, gone, __version__, f"does not see {gone}; --source and --rec"),
        (True, tmp_path, __version__, f"does not see {tmp_path}/u; --source "),
    ):
        with pytest.raises(UserError, match=words):
            cluster._prepare(print, clip, found, folder, version)
    # A clip that nobody sees is the worker's to tell.
    work = {clip: "told"}.get
    assert cluster._prepare(work, clip, False, tmp_path, __version__) == "told"


@pytest.mark.parametrize(
    ("deaths", "expected"),
    [
        (["node", *8 * ["raylet"], None], "made"),
        (["raylet", "worker"], "WorkerCrashedError"),
        (10 * ["node"], "NodeDiedError"),
    ],
)
def test_a_clip_outlives_nodes(
    cluster, tmp_path, monkeypatch, deaths, expected
):
    """Ray's part by hand."""
    ray, begun = cluster.ray, []

    class Task:
        def remote(self, work, clip, *_):
            begun.append(clip)
            return len(begun) - 1

    def get(number):
        errors = {
            "node": ray.exceptions.NodeDiedError("gone"),
            "raylet": ray.exceptions.LocalRayletDiedError(),
            "worker": ray.exceptions.WorkerCrashedError(),
        }
        if deaths[number]:
            raise errors[deaths[number]]
        return "made"

    for name, made in (
        ("init", lambda *_, **__: None),
        ("shutdown", lambda: None),
        ("remote", lambda **_: lambda _: Task()),
        ("wait", lambda left: (left[:1], left[1:])),
        ("get", get),
    ):
        monkeypatch.setattr(ray, name, made)
    clip = Clip(split="train", video="v", utterance="u", path=tmp_path)
    with cluster.ray_map(
        print, [clip], address="auto", folder=tmp_path, died=lambda _, how: how
    ) as results:
        assert list(results) == [(clip, expected)]
    assert begun == len(deaths) * [clip]
