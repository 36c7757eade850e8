"""One file over HTTP: resumed, mirrored, checked; against a server on this machine that fails on demand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from email.message import Message
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from fakehub import FakeHub, Fault

from refvps.errors import DataMissingError, NetworkError, RefvpsError, UsageError
from refvps.fetch import http
from refvps.fetch.http import Policy, fetch
from refvps.fetch.record import FileRecord, check_url

ROOT = Path(__file__).resolve().parent.parent
DATA = bytes(range(256)) * 40
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(http, "CHUNK", 512)
    with FakeHub({"a.zip": DATA, "b.zip": DATA}) as running:
        yield running


class Waits(list[float]):
    """Stands in for time.sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def get(server: FakeHub, folder: Path, *names: str, **fields: Any) -> tuple[Path, Waits]:
    waits = Waits()
    options = {key: fields.pop(key) for key in ("policy", "progress", "offline") if key in fields}
    urls = tuple(f"{server.url}/files/{name}" for name in names or ("a.zip",))
    record = FileRecord(**({"name": "set.zip", "urls": urls, "sha256": SHA, "size": len(DATA)} | fields))
    return fetch(record, folder, sleep=waits, **options), waits


def test_a_file_is_fetched_checked_and_not_fetched_again(server: FakeHub, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    path, waits = get(server, tmp_path, progress=lambda done, total: reports.append((done, total)))
    assert path == tmp_path / "set.zip"
    assert path.read_bytes() == DATA
    assert waits == []
    assert reports[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert len(reports) > 5
    assert sorted(p.name for p in tmp_path.iterdir()) == [".set.zip.lock", "set.zip"]
    get(server, tmp_path)
    assert len(server.log) == 1


@pytest.mark.parametrize("known", ["hash", "nothing"])
def test_a_broken_connection_is_resumed_where_it_broke(known: str, server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("a.zip", times=2, cut=3000)]
    path, waits = get(server, tmp_path, **({} if known == "hash" else {"sha256": "", "size": None}))
    assert path.read_bytes() == DATA
    ranges = [headers.get("Range") for headers in server.gets("a.zip")]
    assert ranges == [None, "bytes=3000-", "bytes=6000-"]
    assert [headers.get("If-Range") for headers in server.gets("a.zip")][1:] == [f'"{SHA}"'] * 2
    assert server.sent == len(DATA)
    assert waits == [1, 1]


def test_without_a_hash_the_server_says_whether_a_file_is_still_the_same(server: FakeHub, tmp_path: Path) -> None:
    plain: dict[str, Any] = {"sha256": "", "size": None}
    assert get(server, tmp_path, **plain)[0].read_bytes() == DATA
    server.sent = 0
    assert get(server, tmp_path, **plain)[0].read_bytes() == DATA
    assert server.sent == 0
    server.files["a.zip"] = DATA + b"more"
    assert get(server, tmp_path, **plain)[0].read_bytes() == DATA + b"more"
    server.etags = False
    server.files["a.zip"] = DATA
    assert get(server, tmp_path, **plain)[0].read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_fetched_afresh(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("a.zip", times=1, cut=3000), Fault("a.zip", times=9, status=503)]
    with pytest.raises(NetworkError, match="503"):
        get(server, tmp_path, sha256="", size=None)
    server.faults = []
    server.files["a.zip"] = DATA[::-1]
    path, _ = get(server, tmp_path, sha256="", size=None)
    assert path.read_bytes() == DATA[::-1]
    assert server.gets("a.zip")[-1]["Range"] == "bytes=3000-"


@pytest.mark.parametrize("lacks", ["ranges", "etags"])
def test_servers_that_cannot_resume_start_again(lacks: str, server: FakeHub, tmp_path: Path) -> None:
    setattr(server, lacks, False)
    server.faults = [Fault("a.zip", times=1, cut=3000)]
    path, _ = get(server, tmp_path, sha256="", size=None)
    assert path.read_bytes() == DATA
    assert server.sent == len(DATA) + 3000


def test_the_next_call_goes_on_and_another_mirror_may_serve_the_rest(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("a.zip", times=1, cut=7000), Fault("a.zip", status=404)]
    path, _ = get(server, tmp_path, "a.zip", "b.zip")
    assert path.read_bytes() == DATA
    assert server.sent == len(DATA)
    assert server.gets("b.zip")[0]["Range"] == "bytes=7000-"
    assert "If-Range" not in server.gets("b.zip")[0]


def test_bytes_of_another_mirror_are_never_joined_without_a_hash(server: FakeHub, tmp_path: Path) -> None:
    server.files["b.zip"] = DATA[::-1]
    server.faults = [Fault("a.zip", times=1, cut=7000), Fault("a.zip", status=404)]
    path, _ = get(server, tmp_path, "a.zip", "b.zip", sha256="", size=None)
    assert path.read_bytes() == DATA[::-1]
    assert "Range" not in server.gets("b.zip")[0]


def test_a_wrong_beginning_is_thrown_away_once(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("a.zip", times=1, cut=3000, corrupt=True)]
    path, _ = get(server, tmp_path)
    assert path.read_bytes() == DATA
    assert [headers.get("Range") for headers in server.gets("a.zip")] == [None, "bytes=3000-", None]


def test_a_wrong_file_is_never_given_its_name(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("a.zip", corrupt=True)]
    with pytest.raises(NetworkError) as caught:
        get(server, tmp_path)
    assert caught.value.exit_code == 5
    assert SHA in str(caught.value)
    assert "it was deleted" in str(caught.value)
    assert not list(tmp_path.glob("*set.zip")) and not list(tmp_path.glob(".set.zip.part"))
    path, _ = get(server, tmp_path, "a.zip", "b.zip")
    assert path.read_bytes() == DATA


def test_sizes_are_checked_before_anything_is_written(server: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"has 10,240 bytes there, not 10,241"):
        get(server, tmp_path, size=len(DATA) + 1)
    with pytest.raises(NetworkError, match="larger than 100 bytes"):
        get(server, tmp_path, size=None, policy=Policy(max_bytes=100))
    server.length = False
    with pytest.raises(NetworkError, match="sends more than the 5,000 bytes"):
        get(server, tmp_path, size=None, policy=Policy(max_bytes=5000))
    with pytest.raises(NetworkError, match="sends more than the 9,999 bytes"):
        get(server, tmp_path, size=9999)
    assert not list(tmp_path.glob("*.zip"))


def test_no_length_is_no_obstacle(server: FakeHub, tmp_path: Path) -> None:
    server.length = False
    path, _ = get(server, tmp_path, size=None)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(("status", "head", "expected"), [
    (503, {}, [1, 2, 4]),
    (429, {"Retry-After": "7"}, [7, 7, 7]),
    (503, {"Retry-After": "99999"}, [60, 60, 60]),
    (500, {"Retry-After": "soon"}, [1, 2, 4]),
])  # fmt: skip
def test_a_busy_server_is_asked_again_as_it_wishes(
    status: int, head: dict[str, str], expected: list[float], server: FakeHub, tmp_path: Path
) -> None:
    server.faults = [Fault("a.zip", times=3, status=status, headers=head)]
    path, waits = get(server, tmp_path)
    assert path.read_bytes() == DATA
    assert waits == expected


def test_a_date_in_retry_after_is_understood(server: FakeHub, tmp_path: Path) -> None:
    date = formatdate(time.time() + 30, usegmt=True)
    server.faults = [Fault("a.zip", times=1, status=429, headers={"Retry-After": date})]
    _, waits = get(server, tmp_path)
    assert len(waits) == 1 and 20 < waits[0] <= 30


def test_patience_ends_and_every_mirror_is_named(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("a.zip", status=503)]
    with pytest.raises(NetworkError) as caught:
        get(server, tmp_path, "a.zip", "none.zip", policy=Policy(attempts=3))
    assert [place.split(": ", 1)[1] for place in caught.value.where] == [
        "the server answers 503 Service Unavailable",
        "the server answers 404 Not Found",
    ]
    assert len(server.gets("a.zip")) == 3
    assert len(server.gets("none.zip")) == 1


def test_a_part_that_was_whole_is_checked_and_kept(server: FakeHub, tmp_path: Path) -> None:
    (tmp_path / ".set.zip.part").write_bytes(DATA)
    path, _ = get(server, tmp_path)
    assert path.read_bytes() == DATA
    assert server.sent == 0
    (tmp_path / "set.zip").unlink()
    (tmp_path / ".set.zip.part").write_bytes(DATA + b"more")
    path, _ = get(server, tmp_path)
    assert path.read_bytes() == DATA


def test_redirects_are_followed_a_few_times_and_only_to_the_web(server: FakeHub, tmp_path: Path) -> None:
    server.redirects = {"/files/moved.zip": f"{server.url}/files/a.zip"}
    assert get(server, tmp_path / "1", "moved.zip")[0].read_bytes() == DATA
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    port = server.url.rpartition(":")[2]
    for target in (f"file://{secret}", "ftp://127.0.0.1/a.zip", f"http://u:p@127.0.0.1:{port}/files/a.zip", "data:,x"):
        server.redirects = {"/files/moved.zip": target}
        with pytest.raises(NetworkError):
            get(server, tmp_path / "2", "moved.zip")
    server.redirects = {"/files/moved.zip": "/files/moved.zip"}
    with pytest.raises(NetworkError):
        get(server, tmp_path / "3", "moved.zip")
    assert len(server.gets("moved.zip")) < 20
    assert not list(tmp_path.glob("[23]/*.zip"))


def test_a_redirect_never_leaves_https() -> None:
    request = urllib.request.Request("https://host/x", headers={"Range": "bytes=5-"})

    def follow(target: str) -> urllib.request.Request:
        return http._Redirects().redirect_request(request, io.BytesIO(), 302, "Found", Message(), target)

    assert follow("https://cdn/x").get_header("Range") == "bytes=5-"
    with pytest.raises(http._Final, match="from https to http"):
        follow("http://cdn/x")
    for target in ("https://u:p@cdn/x", "file:///etc/passwd"):
        with pytest.raises(UsageError):
            follow(target)


BAD = (
    "file:///etc/passwd", "ftp://host/x", "//host/x", "http://", "https://user:secret@host/x", "http://host:99999/x",
    "http://host/a b", "http://host/\n", "http://[::1", "x", "",
)  # fmt: skip


@pytest.mark.parametrize("url", BAD)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        FileRecord("set.zip", (url,))
    assert "secret" not in str(caught.value)
    check_url("https://host.example:8443/a%20b?c=d")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\\b", "x" * 200])
def test_a_record_names_no_other_folder(name: str) -> None:
    with pytest.raises(UsageError):
        FileRecord(name)
    with pytest.raises(UsageError, match="SHA-256"):
        FileRecord("set.zip", sha256="ABC")


def test_what_may_not_be_fetched_says_what_to_do(server: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match="ask its authors"):
        fetch(FileRecord("set.zip", instructions="ask its authors"), tmp_path)
    with pytest.raises(DataMissingError, match="REFVPS_OFFLINE"):
        get(server, tmp_path, offline=True)
    assert server.log == []
    (tmp_path / "set.zip").write_bytes(DATA)
    assert get(server, tmp_path, offline=True)[0].read_bytes() == DATA


def test_a_full_disk_is_noticed_before_the_transfer(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DataMissingError, match="10,240 bytes needed"):
        get(server, tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_no_server_is_a_network_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub({}) as server:
        address = server.url
    waits = Waits()
    with pytest.raises(NetworkError, match="no connection"):
        fetch(FileRecord("set.zip", (f"{address}/files/a.zip",)), tmp_path, sleep=waits, policy=Policy(attempts=3))
    assert waits == [1, 2]


def test_a_silent_server_is_given_up(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("a.zip", times=1, hold=600)]
    path, waits = get(server, tmp_path, policy=Policy(timeout=0.2))
    assert path.read_bytes() == DATA
    assert waits == [1]


KILLED = """
import sys
from pathlib import Path
from refvps.fetch import http
from refvps.fetch.record import FileRecord
http.CHUNK = 512
http.fetch(FileRecord("set.zip", (sys.argv[1],)), Path(sys.argv[2]))
"""


def test_a_killed_process_leaves_a_part_from_which_the_next_goes_on(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("a.zip", times=1, hold=6000)]
    command = [sys.executable, "-c", KILLED, f"{server.url}/files/a.zip", str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    part = tmp_path / ".set.zip.part"
    deadline = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < 2048:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(DATA)
    assert json.loads((tmp_path / ".set.zip.part.json").read_bytes())["validator"] == f'"{SHA}"'
    server.sent = 0
    path, _ = get(server, tmp_path, sha256="", size=None)
    assert path.read_bytes() == DATA
    assert server.sent == len(DATA) - kept


def test_two_processes_do_not_fetch_the_same_file(server: FakeHub, tmp_path: Path) -> None:
    from refvps.files import locked

    with locked(tmp_path / ".set.zip.lock"), pytest.raises(RefvpsError, match="Another process"):
        get(server, tmp_path)
