"""Downloads over a server of our own: whole, checked, resumed, or refused with the way out."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lungseg3d.core import IntakeError, LungSegError
from lungseg3d.io import download, unpack_tar

CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `breaks` says after how many bytes each of the next answers breaks off."""

    breaks: tuple[int, ...] = ()
    ranges = True
    status = 200
    asked: list

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        if self.server.status != 200:
            return self.send_error(self.server.status)
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        body = CONTENT[start:]
        if self.server.breaks:
            most, self.server.breaks = self.server.breaks[0], self.server.breaks[1:]
            body = body[:most]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as one:
        one.asked = []
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def load(server, target, md5=MD5, most_bytes=2**30, **options):
    url = f"http://127.0.0.1:{server.server_address[1]}/file.tar"
    download(url, target, md5=md5, most_bytes=most_bytes, wait_s=0, **options)


def test_a_file_comes_whole_and_its_progress_is_told(server, tmp_path):
    steps = []
    load(server, tmp_path / "f", on_bytes=lambda done, total: steps.append((done, total)))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_broken_connection_is_gone_on_with_where_it_stopped(server, tmp_path):
    server.breaks = (1_000_000, 500_000)
    load(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_run_goes_on_where_the_first_stopped(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT[:2_000_000])
    load(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked == ["bytes=2000000-"]


def test_a_part_that_is_whole_only_needs_its_name(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    load(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    load(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(LungSegError, match="E_CHECKSUM"):
        load(server, tmp_path / "f", md5="0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_file_is_found_by_the_checksum(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    with pytest.raises(LungSegError, match="E_CHECKSUM"):
        load(server, tmp_path / "f")
    load(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_loaded_again(server, tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    load(server, tmp_path / "f")
    assert server.asked == []
    (tmp_path / "f").write_bytes(b"other")
    with pytest.raises(LungSegError, match="is there, but"):
        load(server, tmp_path / "f")


def test_more_than_expected_is_refused(server, tmp_path):
    with pytest.raises(LungSegError, match="E_RESOURCE_LIMIT"):
        load(server, tmp_path / "f", most_bytes=1000)


def test_a_connection_that_never_gets_further_ends_with_the_way_out(server, tmp_path):
    server.breaks = (1000, 0, 0, 0, 0, 0)
    with pytest.raises(LungSegError, match="E_DOWNLOAD") as caught:
        load(server, tmp_path / "f")
    assert "go on" in caught.value.remedy
    assert (tmp_path / "f.part").stat().st_size == 1000


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_of_the_server_is_passed_on(server, tmp_path, status):
    server.status = status
    with pytest.raises(LungSegError, match=f"E_DOWNLOAD.*{status}"):
        load(server, tmp_path / "f")


def test_without_a_server_one_is_offline(server, tmp_path):
    with pytest.raises(LungSegError, match="E_OFFLINE") as caught:
        download("http://127.0.0.1:1/f", tmp_path / "f", md5=MD5, most_bytes=1, wait_s=0)
    assert "proxy" in caught.value.remedy


def test_other_addresses_are_not_opened(tmp_path):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(LungSegError, match="neither http nor https"):
        download((tmp_path / "secret").as_uri(), tmp_path / "f", md5=MD5, most_bytes=10, wait_s=0)


@pytest.fixture
def make_tar(tmp_path):
    """`make_tar((name, type, content), ...)` -> path of an archive."""

    def make(*members):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for name, kind, content in members:
                info = tarfile.TarInfo(name)
                info.type, info.size = kind, len(content)
                info.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
                archive.addfile(info, io.BytesIO(content))
        return tmp_path / "a.tar"

    return make


def test_an_archive_becomes_its_folder(make_tar, tmp_path):
    archive = make_tar(("T/a/b.txt", tarfile.REGTYPE, b"b"), ("T/._b.txt", tarfile.REGTYPE, b"junk"))
    assert unpack_tar(archive, "T", tmp_path, 100) == tmp_path / "T"
    assert [path.name for path in sorted((tmp_path / "T").rglob("*"))] == ["a", "b.txt"]
    with pytest.raises(LungSegError, match="E_OUTPUT_EXISTS"):
        unpack_tar(archive, "T", tmp_path, 100)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("T/../../x", tarfile.REGTYPE),
        ("/x", tarfile.REGTYPE),
        ("T/x", tarfile.SYMTYPE),
        ("T/x", tarfile.LNKTYPE),
        ("T/x", tarfile.CHRTYPE),
    ],
)
def test_links_devices_and_names_that_lead_out_are_refused_and_leave_nothing(make_tar, tmp_path, name, kind):
    archive = make_tar(("T/a.txt", tarfile.REGTYPE, b"a"), (name, kind, b""))
    with pytest.raises(IntakeError, match="E_UNSAFE_ARCHIVE"):
        unpack_tar(archive, "T", tmp_path, 100)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_bomb_a_cut_archive_and_a_foreign_one_are_refused(make_tar, tmp_path):
    archive = make_tar(("T/a.txt", tarfile.REGTYPE, b"a" * 5000))
    with pytest.raises(IntakeError, match="E_RESOURCE_LIMIT"):
        unpack_tar(archive, "T", tmp_path, 1000)
    with pytest.raises(IntakeError, match="E_CORRUPT"):
        unpack_tar(archive, "U", tmp_path, 10_000)
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(IntakeError, match="E_CORRUPT"):
        unpack_tar(archive, "T", tmp_path, 10_000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
