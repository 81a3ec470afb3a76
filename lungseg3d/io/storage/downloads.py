"""A file from the internet, whole and right or not there.

In: an address, a checksum, a size limit. Out: the file. What was loaded before an interruption is kept beside it
as `.part` and gone on with. Knows no dataset.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from lungseg3d.core import LungSegError, OutputError
from lungseg3d.core.progress import OnBytes
from lungseg3d.io.storage.files import output_error
from lungseg3d.io.storage.growing import growing, name_finished

_CHUNK = 2**20
_TIMEOUT_S = 60.0
_TRIES = 5
_BROKEN = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
_GO_ON = "Run the same line again to go on where it stopped."


def download(
    url: str,
    target: Path | str,
    *,
    md5: str,
    most_bytes: int,
    on_bytes: OnBytes | None = None,
    wait_s: float = 2.0,
) -> None:
    """Load a file; nothing is loaded when it is there and right.

    Args:
        url: http or https.
        target: file to write; its folder exists.
        md5: as the publisher states it.
        most_bytes: more than this is refused, whatever the server says.
        on_bytes: called with (bytes so far, bytes in all; 0 where the server does not say).
        wait_s: before the second try; doubled after each.

    Raises:
        LungSegError: E_OFFLINE when no server answers; E_DOWNLOAD when it refuses or breaks off five times;
            E_RESOURCE_LIMIT beyond `most_bytes`; E_CHECKSUM when what came is not what the publisher has.
        OutputError: E_NO_SPACE, E_WRITE.
    """
    target = Path(target)
    part = target.with_name(target.name + ".part")
    if target.is_file():
        if md5_of(target) == md5:
            return
        text = f"{target.name}: is there, but its MD5 is not {md5}."
        raise LungSegError("E_CHECKSUM", text, "Remove it, and run the same line again.")
    _load(url, part, most_bytes, on_bytes, wait_s)
    found = md5_of(part)
    if found != md5:
        part.unlink()
        text = f"{target.name}: MD5 {found}, expected {md5}; what came from {url} was removed."
        raise LungSegError("E_CHECKSUM", text, "Run the same line again; if it stays so, the file was changed there.")
    name_finished(part, target)


def md5_of(path: Path) -> str:
    """MD5 of a file, as publishers of data sets state it."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _load(url: str, part: Path, most_bytes: int, on_bytes: OnBytes | None, wait_s: float) -> None:
    for tried in range(1, _TRIES + 1):
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _load_rest(url, part, most_bytes, on_bytes):
                return
            error: Exception = ConnectionError("the connection ended early")
        except urllib.error.HTTPError as refused:
            text = f"{url}: the server answers {refused.code} {refused.reason}."
            raise LungSegError("E_DOWNLOAD", text, "Look whether the address still holds the file.") from refused
        except _BROKEN as broken:
            error = broken
        except OSError as failed:
            raise output_error(part, failed) from failed
        now = part.stat().st_size if part.is_file() else 0
        if now == before and tried == _TRIES:
            reason = getattr(error, "reason", error)
            if now:
                raise LungSegError("E_DOWNLOAD", f"{url}: broke off after {now} bytes ({reason}).", _GO_ON) from error
            text = f"{url}: no answer ({reason})."
            remedy = "Check the connection and the proxy, or download the file elsewhere and put it there."
            raise LungSegError("E_OFFLINE", text, remedy) from error
        time.sleep(wait_s * 2 ** (tried - 1))
    raise LungSegError("E_DOWNLOAD", f"{url}: broke off {_TRIES} times after {now} bytes.", _GO_ON)


def _load_rest(url: str, part: Path, most_bytes: int, on_bytes: OnBytes | None) -> bool:
    """Append what is missing. True when the server says that this was all."""
    if not url.startswith(("https://", "http://")):
        raise LungSegError("E_DOWNLOAD", f"{url}: neither http nor https.")
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing is missing, or the file there is another: the checksum will tell
            return True
        raise
    with answer:
        start, total = _place(answer.status, dict(answer.headers), done)
        if max(total, start) > most_bytes:
            text = f"{url}: {total / 2**30:.1f} GiB; expected at most {most_bytes / 2**30:.1f} GiB."
            raise LungSegError("E_RESOURCE_LIMIT", text, "Look whether the address still holds the file.")
        free = shutil.disk_usage(part.parent).free
        if total - start > free:
            text = f"{part.parent}: {free / 2**30:.1f} GiB free, {(total - start) / 2**30:.1f} GiB to load."
            raise OutputError("E_NO_SPACE", text, "Free some space, or give another folder.")
        with growing(part, start) as file:
            size = start
            while chunk := answer.read(_CHUNK):
                size += len(chunk)
                if size > most_bytes:
                    text = f"{url}: more than {most_bytes / 2**30:.1f} GiB came."
                    raise LungSegError("E_RESOURCE_LIMIT", text, "Look whether the address still holds the file.")
                file.write(chunk)
                if on_bytes:
                    on_bytes(size, total)
    return not total or size >= total


def _place(status: int, headers: dict[str, str], asked_from: int) -> tuple[int, int]:
    """(first byte of what comes, bytes in all or 0); from the beginning when the server knows no ranges."""
    lower = {key.lower(): value for key, value in headers.items()}
    ranged = re.match(r"bytes (\d+)-\d+/(\d+)", lower.get("content-range", "")) if status == 206 else None
    if ranged and int(ranged[1]) == asked_from:
        return asked_from, int(ranged[2])
    if status == 206:
        raise ConnectionError("the server sends another part than was asked for")
    length = lower.get("content-length", "")
    return 0, int(length) if length.isdecimal() else 0
