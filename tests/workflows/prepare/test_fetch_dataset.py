"""A dataset is loaded from a server of our own, unpacked and prepared; done twice, it is loaded once."""

import hashlib
import json
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from lungseg3d.core import LungSegError, UsageError, Volume
from lungseg3d.data import LIDC, Archive, Dataset
from lungseg3d.io import write_labels, write_volume
from lungseg3d.workflows.prepare.fetch import fetch_dataset
from lungseg3d.workflows.prepare.folder import find_msd_lung
from lungseg3d.workflows.prepare.run import prepare


class Quiet(SimpleHTTPRequestHandler):
    asked: list = []  # noqa: RUF012 - one list for all requests

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A dataset in the Decathlon's form, as an archive on a server."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "made" / "Task06_Lung"
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    hu = np.full((16, 14, 22), -1000, np.int16)
    hu[2:14, 2:12], hu[4:7, 4:10] = 40, -850
    write_volume(root / "imagesTr" / "lung_001.nii.gz", Volume(hu, np.diag([2.0, 2, 5, 1])))
    label = Volume((hu == -850).astype(np.uint8), np.diag([2.0, 2, 5, 1]))
    write_labels(root / "labelsTr" / "lung_001.nii.gz", label)
    pair = {"image": "./imagesTr/lung_001.nii.gz", "label": "./labelsTr/lung_001.nii.gz"}
    (root / "dataset.json").write_text(json.dumps({"training": [pair]}))
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "Task06_Lung.tar", "w") as archive:
        archive.add(root, "Task06_Lung")
    md5 = hashlib.md5((served / "Task06_Lung.tar").read_bytes()).hexdigest()
    Quiet.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/Task06_Lung.tar"
        yield Dataset("msd-lung", "s", "l", "how", "what", Archive(url, md5, 2**30, "Task06_Lung"))
        server.shutdown()
        thread.join()


def test_a_dataset_is_loaded_unpacked_and_prepared(published, tmp_path):
    steps = []
    folder = fetch_dataset(published, tmp_path / "data", lambda *step: steps.append(step))
    assert folder == tmp_path / "data" / "Task06_Lung"
    assert {step[1].split()[0] for step in steps} == {"download", "unpack"}
    done = prepare(find_msd_lung(tmp_path / "data"), tmp_path / "data", tmp_path / "out")
    assert done.content["cases"][0]["files"]["image"] == "source/Task06_Lung/imagesTr/lung_001.nii.gz"


def test_what_is_there_is_not_loaded_again(published, tmp_path):
    fetch_dataset(published, tmp_path / "data")
    fetch_dataset(published, tmp_path / "data")
    assert Quiet.asked == ["/Task06_Lung.tar"]


def test_an_archive_that_was_changed_is_not_unpacked(published, tmp_path):
    archive = Archive(published.archive.url, "0" * 32, 2**30, "Task06_Lung")
    with pytest.raises(LungSegError, match="E_CHECKSUM"):
        fetch_dataset(Dataset("msd-lung", "s", "l", "how", "what", archive), tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_dataset_behind_a_form_says_how_to_get_it(tmp_path):
    with pytest.raises(UsageError, match="NBIA"):
        fetch_dataset(LIDC, tmp_path)
