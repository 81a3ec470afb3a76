"""`batch --engine ray` on a real cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from lungseg3d.core import LungSegError
from lungseg3d.workflows.batch.plan import Selection
from lungseg3d.workflows.batch.run import batch
from lungseg3d.workflows.batch.verify import verify_batch
from lungseg3d.workflows.batch_state.records import BatchOptions, BatchState
from tests.support.batch_stand_in import StandIn, contents, write_ct

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of two CPUs each: the head, and one that may be killed."""
    from ray.cluster_utils import Cluster

    # Nodes import the tests, and this repository, as this process does.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "180")  # on a busy machine
    cluster = Cluster()
    cluster.add_node(num_cpus=2, include_dashboard=False)
    cluster.killed = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def source_of(folder: Path, count: int) -> Path:
    for number in range(count):
        write_ct(folder / f"ct-{number:02d}.nii.gz", number)
    return folder


def test_forty_cases_on_two_nodes_of_which_one_is_killed_are_all_done_once(cluster, tmp_path):
    source = source_of(tmp_path / "in", 40)
    ended: Counter[str] = Counter()
    begun = tmp_path / "begun"
    begun.mkdir()

    def watch(state: BatchState) -> None:
        if state.last is not None:
            ended[state.last.case_id] += 1
            if state.ended == 10:
                cluster.remove_node(cluster.killed, allow_graceful=False)

    options = BatchOptions(workers=4, engine="ray", address=cluster.address)
    segmenter = StandIn(delay_s=0.3, begun=begun)
    done = batch(Selection(str(source)), tmp_path / "out", options, watch, segmenter)
    assert {record.status for record in done.records.values()} == {"done"}
    assert len(ended) == 40
    assert set(ended.values()) == {1}
    processes = {path.name.rsplit("-", 1)[1] for path in begun.iterdir()}
    assert len(processes) >= 4
    assert 40 < len(list(begun.iterdir())) < 50, "what ran on the killed node is begun again, and nothing else"
    assert len(verify_batch(tmp_path / "out").whole) == 40
    batch(Selection(str(source)), tmp_path / "local", BatchOptions(workers=2), None, StandIn())
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


def test_a_case_that_hangs_or_kills_its_worker_again_and_again_is_given_up(cluster, tmp_path):
    source = source_of(tmp_path / "in", 3)
    for number, fault in enumerate(("hang", "killed", "raise")):
        write_ct(source / f"{fault}.nii.gz", 50 + number)
    options = BatchOptions(workers=3, engine="ray", address=cluster.address, time_limit_s=5)
    done = batch(Selection(str(source)), tmp_path / "out", options, None, StandIn())
    codes = {case_id: [issue.code for issue in record.issues] for case_id, record in done.records.items()}
    assert codes == {f"ct-0{number}": [] for number in range(3)} | {
        "hang": ["E_TIMEOUT"],
        "killed": ["E_WORKER_LOST"],
        "raise": ["E_UNEXPECTED"],
    }


def test_models_that_cannot_be_opened_on_the_nodes_stop_everything(cluster, tmp_path):
    fault = LungSegError("E_BAD_CHECKPOINT", "the weights are no weights")
    options = BatchOptions(workers=1, engine="ray", address=cluster.address)
    with pytest.raises(LungSegError, match="E_BAD_CHECKPOINT"):
        batch(Selection(str(source_of(tmp_path / "in", 1))), tmp_path / "out", options, None, StandIn(fault=fault))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:70000"])
def test_an_address_where_no_cluster_is_is_said_in_words_at_once(tmp_path, address):
    began = time.monotonic()
    options = BatchOptions(workers=1, engine="ray", address=address)
    with pytest.raises(LungSegError, match="E_NO_CLUSTER"):
        batch(Selection(str(source_of(tmp_path / "in", 1))), tmp_path / "out", options, None, StandIn())
    assert time.monotonic() - began < 60
