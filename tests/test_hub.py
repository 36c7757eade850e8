"""huggingface_hub's own client against a server on this machine: what arrives is checked, what fails is explained."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakehub import COMMIT, REPO, FakeHub, Fault, git_hash

from refvps.errors import DataMissingError, NetworkError, RefvpsError, UsageError
from refvps.fetch import hub
from refvps.home import home

LARGE = bytes(range(256)) * 64
FILES = {
    "README.md": b"---\nlicense: cc-by-4.0\n---\ntext",
    "clips.jsonl": b'{"id": "a"}\n',
    "masks/a/00000.png": b"mask",
    "frames/a/00000.jpg": LARGE,
    "data/JPEGImages/b/0.png": b"frame",
    ".gitattributes": b"x",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    offline_hub(monkeypatch, tmp_path)
    with FakeHub(dict(FILES)) as running:
        yield running


def offline_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keep huggingface_hub away from the user's files, from telemetry and from waiting."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(folder / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "none"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2048)
    for module in (_http, file_download):
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


def get(server: FakeHub, **options: Any) -> dict[str, Path]:
    return hub.download(hub.find(REPO, endpoint=server.url), **options)


def test_a_branch_is_pinned_to_its_commit_and_every_file_arrives(server: FakeHub) -> None:
    found = hub.find(REPO, endpoint=server.url)
    assert (found.revision, found.commit) == ("main", COMMIT)
    assert {file.path: file.digest for file in found.files} == {
        path: f"sha256:{hashlib.sha256(data).hexdigest()}" if len(data) > 2000 else f"git:{git_hash(data)}"
        for path, data in FILES.items()
        if path != ".gitattributes"
    }
    reports: list[tuple[int, int]] = []
    files = hub.download(found, progress=lambda done, total: reports.append((done, total)))
    assert {path: file.read_bytes() for path, file in files.items()} == {
        path: data for path, data in FILES.items() if path != ".gitattributes"
    }
    total = sum(len(data) for path, data in FILES.items() if path != ".gitattributes")
    assert reports[-1] == (total, total)
    assert len(server.gets("/cdn/")) == 1
    asked = len(server.log)
    assert get(server) == files
    assert not [path for method, path, _ in server.log[asked:] if "/resolve/" in path]


def test_lists_come_page_by_page(server: FakeHub) -> None:
    server.page = 2
    assert len(hub.find(REPO, endpoint=server.url).files) == len(FILES) - 1
    assert len(server.gets("/tree/")) == 3


def test_parts_of_a_repository(server: FakeHub) -> None:
    files = get(server, without=hub.FRAMES)
    assert set(files) == {"README.md", "clips.jsonl", "masks/a/00000.png"}
    assert not server.gets("00000.jpg")
    assert set(get(server, only=hub.TERMS)) == {"README.md"}


@pytest.mark.parametrize(("path", "address"), [
    ("frames/a/00000.jpg", "/cdn/frames"), ("clips.jsonl", f"{COMMIT}/clips.jsonl"),
])  # fmt: skip
def test_a_wrong_file_of_the_right_size_is_noticed_and_fetched_again(path: str, address: str, server: FakeHub) -> None:
    server.faults = [Fault(path, times=1, corrupt=True)]
    assert get(server)[path].read_bytes() == FILES[path]
    assert len(server.gets(address)) == 2


def test_a_file_that_stays_wrong_is_refused_and_deleted(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [Fault("frames/a/00000.jpg", corrupt=True)]
    with pytest.raises(NetworkError) as caught:
        get(server)
    assert caught.value.exit_code == 5
    assert hashlib.sha256(LARGE).hexdigest() in str(caught.value)
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_file() and path.stat().st_size == len(LARGE)]
    server.faults = []
    assert get(server)["frames/a/00000.jpg"].read_bytes() == LARGE


def test_a_file_edited_in_the_cache_is_noticed(server: FakeHub) -> None:
    files = get(server)
    files["clips.jsonl"].resolve().write_bytes(b'{"id": "b"}\n')
    assert get(server)["clips.jsonl"].read_bytes() == FILES["clips.jsonl"]


def test_a_broken_connection_is_resumed(server: FakeHub) -> None:
    server.faults = [Fault("frames/a/00000.jpg", times=2, cut=6000)]
    assert get(server)["frames/a/00000.jpg"].read_bytes() == LARGE
    ranges = [headers.get("Range") for headers in server.gets("/cdn/")]
    assert len(ranges) == 3
    assert ranges[0] is None and all(found and found.startswith("bytes=") for found in ranges[1:])


def test_busy_servers_are_asked_again(server: FakeHub) -> None:
    server.faults = [
        Fault("frames/a/00000.jpg", times=2, status=429, headers={"Retry-After": "1"}),
        Fault("clips.jsonl", times=1, status=429),
    ]
    assert get(server)["clips.jsonl"].read_bytes() == FILES["clips.jsonl"]


ERRORS = {
    "no such repository": (DataMissingError, "hf auth login", lambda s: hub.find("org/other", endpoint=s.url)),
    "no such revision": (DataMissingError, "no such revision", lambda s: hub.find(REPO, revision="x", endpoint=s.url)),
    "no such commit": (DataMissingError, "such revision", lambda s: hub.find(REPO, revision="0" * 40, endpoint=s.url)),
    "not a repository": (UsageError, "ORG/NAME", lambda s: hub.find("ref-vps", endpoint=s.url)),
    "a path": (UsageError, "ORG/NAME", lambda s: hub.find("../..", endpoint=s.url)),
    "not a revision": (UsageError, "revision", lambda s: hub.find(REPO, revision="../main", endpoint=s.url)),
    "not the web": (UsageError, "http", lambda s: hub.find(REPO, endpoint="file:///etc")),
    "gated": (DataMissingError, "accept them", get),
    "down": (NetworkError, "503", get),
    "busy": (NetworkError, "429", get),
    "away": (NetworkError, "failed", get),
    "short": (NetworkError, "failed", get),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_to_do(name: str, server: FakeHub) -> None:
    kind, text, call = ERRORS[name]
    server.gated = name == "gated"
    if name == "down":
        server.faults = [Fault("api/revision", status=503)]
    elif name == "busy":
        server.faults = [Fault("api/tree", status=429, headers={"Retry-After": "1"})]
    elif name == "away":
        server.faults = [Fault("clips.jsonl", status=404)]
    elif name == "short":
        server.faults = [Fault("clips.jsonl", cut=3)]
    with pytest.raises(RefvpsError) as caught:
        call(server)
    assert isinstance(caught.value, kind)
    assert text in str(caught.value)
    assert caught.value.fix


def test_a_dead_server_is_a_network_error_also_when_something_is_cached(server: FakeHub) -> None:
    get(server)
    with FakeHub({}) as other:
        address = other.url
    with pytest.raises(NetworkError):
        hub.find(REPO, endpoint=address)


def test_without_the_network_what_was_downloaded_is_used_and_checked(server: FakeHub) -> None:
    with pytest.raises(DataMissingError, match="REFVPS_OFFLINE"):
        hub.find(REPO, endpoint=server.url, offline=True)
    get(server, without=hub.FRAMES)
    asked = len(server.log)
    found = hub.find(REPO, endpoint=server.url, offline=True)
    assert found.commit == COMMIT
    files = hub.download(found, without=hub.FRAMES)
    assert set(files) == {"README.md", "clips.jsonl", "masks/a/00000.png"}
    with pytest.raises(DataMissingError, match="not downloaded whole"):
        hub.download(found)
    files["clips.jsonl"].resolve().write_bytes(b'{"id": "b"}\n')
    with pytest.raises(NetworkError, match="clips.jsonl"):
        hub.download(found, without=hub.FRAMES)
    assert len(server.log) == asked


def test_a_cache_of_other_tools_is_used_without_the_network(server: FakeHub) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(REPO, repo_type="dataset", endpoint=server.url, cache_dir=Path(os.environ["HF_HOME"]) / "hub")
    found = hub.find(REPO, offline=True)
    assert (found.commit, found.files) == (COMMIT, ())
    assert hub.download(found)["frames/a/00000.jpg"].read_bytes() == LARGE
    assert not (home() / "hub").exists()


@pytest.mark.parametrize("path", ["../escaped", "a/../../escaped", "/etc/x", "a\\b", "a//b", "a\x1b"])
def test_a_hostile_repository_names_no_other_folder(path: str, server: FakeHub) -> None:
    server.files = {**FILES, path: b"x"}
    with pytest.raises(NetworkError, match="not plain"):
        get(server)


@pytest.mark.parametrize(("files", "text"), [
    ({"LICENSE": b"be kind\n", "benchmark.json": b'{"licence": "CC0"}'}, "be kind"),
    ({"Licence.txt": b"be kind"}, "be kind"),
    ({"benchmark.json": b'{"licence": "CC0"}', "README.md": FILES["README.md"]}, "CC0"),
    ({"benchmark.json": b"[]", "README.md": FILES["README.md"]}, "cc-by-4.0"),
    ({"README.md": b"license: cc"}, ""),
    ({}, ""),
])  # fmt: skip
def test_where_the_licence_stands(files: dict[str, bytes], text: str, tmp_path: Path) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert hub.licence_of(tuple(files), lambda name: (tmp_path / name).read_bytes()) == text


def test_files_of_the_cache_get_their_names_elsewhere(server: FakeHub, tmp_path: Path) -> None:
    files = get(server)
    hub.place(files, tmp_path / "out")
    placed = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert placed.keys() == files.keys()
    assert not any(path.is_symlink() for path in placed.values())
    assert placed["frames/a/00000.jpg"].read_bytes() == LARGE


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nothing://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_a_network_error(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx raises ImportError or ValueError; in a process of its own, as huggingface_hub keeps its client."""
    for name in ("all_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, proxy)
        monkeypatch.setenv(name.upper(), proxy)
    code = "import sys\nfrom refvps import cli\nsys.exit(cli.run(['download', 'ref-vps', '--repo', 'org/name']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == NetworkError.exit_code, done.stderr
    assert "proxy" in done.stderr.lower() and "bug" not in done.stderr
