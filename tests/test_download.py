"""``refvps download`` from the hub, an address and files: against a server on this machine, and killed on the way."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layouts
import pytest
from fakehub import COMMIT, REPO, FakeHub, Fault, tree_of
from test_hub import offline_hub
from test_layouts import plain
from trees import read_lines, write_lines, write_ref_vps

from refvps import data
from refvps.cli import run as cli
from refvps.data.folder import load_folder
from refvps.data.importers import IMPORTERS, Importer
from refvps.data.local import load_local
from refvps.fetch import http
from refvps.home import home
from refvps.types import Benchmark

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    offline_hub(monkeypatch, tmp_path)
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)
    root = write_ref_vps(tmp_path / "source", {"wax-01": "rle", "smoke.2": "rle", "wave_3": "png"})
    for clip in ("wax-01", "smoke.2"):
        shutil.rmtree(root / "frames" / clip)
    with FakeHub(tree_of(root)) as running:
        yield running


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = cli([str(arg) for arg in args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def from_hub(server: FakeHub, *more: object) -> list[object]:
    return ["download", "ref-vps", "--repo", REPO, "--endpoint", server.url, "-j", 1, *more]


def registered() -> dict[str, bytes]:
    folder = home() / "benchmarks"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_from_the_hub_to_a_score(server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.files = tree_of(write_ref_vps(tmp_path / "complete"))
    code, out, err = run(capsys, *from_hub(server, "--json"))
    assert code == 0, err
    assert err == ""
    report = json.loads(out)
    assert report["source"] == f"hub:{REPO}@{COMMIT}"
    assert (report["name"], report["version"], report["clips"]) == ("ref-vps", COMMIT[:12], 3)
    assert report["digest"] == load_local().digest
    assert Path(report["folder"]) == home() / "benchmarks" / "ref-vps" / COMMIT[:12]
    assert not list((home() / "work").glob("*"))
    assert len(load_local().frames("wax-01")) == 7
    preds = tmp_path / "preds"
    code, _, err = run(capsys, "predict", "-p", "full", "-b", "ref-vps", "--out", preds)
    assert code == 0, err
    code, out, err = run(capsys, "evaluate", "--pred", preds, "--out", tmp_path / "results", "--draws", 100, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["benchmark"]["digest"] == report["digest"]
    assert 0 < result["summary"]["J"]["value"] < 0.5


def test_a_branch_is_pinned_and_the_same_files_elsewhere_are_the_same(
    server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *from_hub(server, "--revision", "v1.0"))
    assert (code, out) == (0, "")
    assert f"{REPO}: v1.0 is commit {COMMIT}" in err
    assert "registered ref-vps@c0ffeec0ffee, 3 clips" in err
    digest = load_local().digest
    shutil.rmtree(home() / "benchmarks")
    assert run(capsys, "download", "ref-vps", "--from", tmp_path / "source")[0] == 0
    assert (load_local().version, load_local().digest) == ("local", digest)


def test_parts_first_and_frames_later(server: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *from_hub(server, "--only", "clips,masks"))[0] == 0
    assert not server.gets("/frames/")
    digest = load_local().digest
    assert run(capsys, "predict", "-p", "full", "-b", "ref-vps", "--out", home() / "x")[0] == 3
    assert run(capsys, *from_hub(server))[0] == 0
    assert server.gets("/frames/")
    assert load_local().digest == digest
    assert len(load_local().frames("wave_3")) == 7
    assert run(capsys, *from_hub(server, "--only", "clips,masks"))[0] == 0
    assert len(load_local().frames("wave_3")) == 7


@pytest.mark.parametrize("held", ["masks/wave_3/00003.png", "frames/wave_3/00004.jpg", "clips.jsonl"])
def test_a_killed_download_leads_to_the_same_bytes(
    held: str, server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, *from_hub(server))[0] == 0
    expected = registered()
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / "again"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-again"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    server.faults = [Fault(held, times=1, hold=5)]
    server.holding.clear()
    command = [sys.executable, "-m", "refvps", *map(str, from_hub(server))]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    assert server.holding.wait(60)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert registered() == {}
    server.release.set()
    asked = len(server.log)
    kept = [path for path in (tmp_path / "hf-again").rglob("blobs/*") if re.fullmatch("[0-9a-f]{40,64}", path.name)]
    assert run(capsys, *from_hub(server))[0] == 0
    assert registered() == expected
    again = {path for method, path, _ in server.log[asked:] if method == "GET" and "/resolve/" in path}
    assert len(again) <= len(server.files) - len(kept)


def test_a_killed_registration_leads_to_the_same_bytes(
    server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, *from_hub(server))[0] == 0
    expected = registered()
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / "again"))
    script = (
        "import os, signal, sys\nfrom refvps.data import register\nfrom refvps.cli import run\n"
        "register.check_clip = lambda task: os.kill(os.getpid(), signal.SIGKILL)\nrun(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, *map(str, from_hub(server))]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((tmp_path / "again" / "work").glob("*"))) == 1
    assert run(capsys, *from_hub(server))[0] == 0
    assert registered() == expected
    assert not list((tmp_path / "again" / "work").glob("*"))


FAULTS: dict[str, tuple[list[Fault], int, str]] = {
    "wrong bytes once": ([Fault("masks/wave_3/00003.png", times=1, corrupt=True)], 0, "registered"),
    "wrong bytes always": ([Fault("masks/wave_3/00003.png", corrupt=True)], 5, "its hash is git:"),
    "cut once": ([Fault("masks/smoke.2.jsonl", times=1, cut=20)], 0, "registered"),
    "busy once": ([Fault("masks/smoke.2.jsonl", times=1, status=429, headers={"Retry-After": "1"})], 0, "registered"),
    "gone": ([Fault("masks/smoke.2.jsonl", status=404)], 5, "download from the hub failed"),
    "down": ([Fault("api/revision", status=503)], 5, "503"),
    "busy": ([Fault("api/tree", status=429)], 5, "429"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_on_the_way(name: str, server: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    server.faults, expected, message = FAULTS[name]
    code, _, err = run(capsys, *from_hub(server))
    assert code == expected, err
    assert message in err
    assert bool(registered()) == (code == 0)
    server.faults = []
    assert run(capsys, *from_hub(server))[0] == 0


def test_what_the_hub_refuses(server: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    server.gated = True
    code, _, err = run(capsys, *from_hub(server))
    assert code == 3
    assert "hf auth login" in err
    server.gated = False
    for args, text in (
        (["--repo", "org/none", "--endpoint", server.url], "no such dataset repository"),
        (["--repo", REPO, "--endpoint", server.url, "--revision", "v9"], "no such revision"),
    ):
        code, _, err = run(capsys, "download", *args)
        assert code == 3
        assert text in err
    assert registered() == {}


def test_without_the_network(
    server: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFVPS_OFFLINE", "1")
    code, _, err = run(capsys, *from_hub(server))
    assert code == 3
    assert "REFVPS_OFFLINE" in err
    assert run(capsys, "download", "--from", f"{server.url}/files/set.zip")[0] == 3
    assert server.log == []
    monkeypatch.delenv("REFVPS_OFFLINE")
    assert run(capsys, *from_hub(server))[0] == 0
    expected = registered()
    shutil.rmtree(home() / "benchmarks")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(server.log)
    assert run(capsys, *from_hub(server))[0] == 0
    assert len(server.log) == asked
    assert registered() == expected


@pytest.mark.parametrize("name", layouts.WRITERS)
def test_a_repository_in_another_layout(
    name: str, server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files = tree_of(layouts.WRITERS[name](plain(), tmp_path / "layout"))
    code, out, err = run(capsys, *from_hub(server, "--json"))
    assert code == 0, err
    assert json.loads(out)["digest"] == plain().digest
    assert f"Read from the layout {name}." in json.loads(out)["notes"]
    assert len(load_local().frames("melt")) == 12


def zipped(root: Path) -> bytes:
    return Path(shutil.make_archive(str(root), "zip", root)).read_bytes()


def test_a_repository_with_one_zip(server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.files = {"README.md": b"text", "data/ref-vps.zip": zipped(tmp_path / "source")}
    assert run(capsys, *from_hub(server))[0] == 0
    assert load_local().version == COMMIT[:12]


def test_an_address_of_a_zip(server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import hashlib

    server.files = {"set.zip": zipped(tmp_path / "source"), "page.html": b"<html>"}
    address = f"{server.url}/files/set.zip"
    digest = hashlib.sha256(server.files["set.zip"]).hexdigest()
    server.faults = [Fault("set.zip", times=2, cut=1000), Fault("set.zip", times=1, status=503)]
    code, out, err = run(capsys, "download", "ref-vps", "--from", address, "--sha256", digest, "--json")
    assert code == 0, err
    assert json.loads(out)["source"] == address
    assert [headers.get("Range") for headers in server.gets("set.zip")] == [
        None,
        "bytes=1000-",
        "bytes=2000-",
        "bytes=2000-",
    ]
    assert not list((home() / "downloads").rglob("*.zip"))
    code, _, err = run(capsys, "download", "ref-vps", "--from", address, "--sha256", "0" * 64)
    assert code == 5
    assert digest in err
    assert run(capsys, "download", "ref-vps", "--from", f"{server.url}/files/none.zip")[0] == 5
    code, _, err = run(capsys, "download", "ref-vps", "--from", f"{server.url}/files/page.html")
    assert code == 4
    assert not [path for path in (home() / "downloads").rglob("*") if path.name == "ref-vps.zip"]
    for other in (f"file://{tmp_path}/source.zip", "ftp://127.0.0.1/x.zip", "s3://bucket/x"):
        code, _, err = run(capsys, "download", "ref-vps", "--from", other)
        assert code == 2
        assert "http" in err


def test_the_licence_is_shown_once_and_accepted_explicitly(server: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    server.files["LICENSE"] = b"Be kind.\n\x1b[31mRed.\n"
    code, _, err = run(capsys, *from_hub(server))
    assert code == 3
    assert "Be kind.\n\\x1b[31mRed." in err
    assert "--accept-licence" in err
    assert not server.gets("/masks/")
    code, _, err = run(capsys, *from_hub(server, "--accept-licence"))
    assert code == 0
    assert "Be kind." in err
    code, _, err = run(capsys, *from_hub(server))
    assert code == 0
    assert "Be kind." not in err
    (accepted,) = (home() / "licences").iterdir()
    assert json.loads(accepted.read_bytes())["name"] == "ref-vps"
    server.files["LICENSE"] = b"Be kinder.\n"
    shutil.rmtree(os.environ["HF_HOME"])
    assert run(capsys, *from_hub(server))[0] == 3


@pytest.mark.parametrize(("answer", "expected"), [("y\n", 0), ("n\n", 3), ("", 130)])
def test_a_person_is_asked(
    answer: str, expected: int, server: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    server.files["benchmark.json"] = b'{"licence": "CC BY 4.0"}'
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    assert cli([str(arg) for arg in from_hub(server)]) == expected
    assert "CC BY 4.0" in screen.getvalue()
    assert "Do you accept it?" in screen.getvalue()
    assert bool(registered()) == (expected == 0)


def test_a_zip_whose_licence_was_not_accepted_is_not_fetched_twice(
    server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source" / "LICENSE").write_text("Be kind.")
    server.files = {"set.zip": zipped(tmp_path / "source")}
    address = f"{server.url}/files/set.zip"
    code, _, err = run(capsys, "download", "--from", address)
    assert code == 3
    assert "Be kind." in err
    assert server.sent == len(server.files["set.zip"])
    assert run(capsys, "download", "--from", address, "--accept-licence")[0] == 0
    assert server.sent == len(server.files["set.zip"])


def test_bare_download_names_the_ways(
    server: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(capsys, "download")
    assert (code, out) == (3, "")
    for way in ("--repo ORG/NAME", "REFVPS_REPO", "--from DIR|ZIP|URL", "-b sample"):
        assert way in err
    assert server.log == []
    monkeypatch.setenv("REFVPS_REPO", REPO)
    assert run(capsys, "download", "--endpoint", server.url)[0] == 0
    assert load_local().name == "ref-vps"


USAGE = [
    (["ref-vps", "--from", "x", "--repo", REPO], "exclude each other"),
    (["ref-vps", "--from", "x", "--revision", "main"], "--revision belongs to --repo"),
    (["ref-vps", "--from", "x", "--only", "clips,masks"], "--only belongs to --repo"),
    (["ref-vps", "--repo", REPO, "--only", "clips"], "Without masks"),
    (["ref-vps", "--repo", REPO, "--only", "sound"], "no such part"),
    (["ref-vps", "--repo", "x"], "ORG/NAME"),
    (["ref-vps", "--from", "x", "--sha256", "0"], "--sha256 belongs"),
    (["ref-vps", "--from", "nowhere"], "no such folder or file"),
    (["ref-vps", "--from", "x", "--option", "a"], "KEY=VALUE"),
    (["sample"], "needs no download"),
    (["ref-vps", "--from", ""], "--from is empty"),
    (["vspw@2", "--from", "x"], "no name of a benchmark"),
    (["../x", "--from", "x"], "no name of a benchmark"),
    (["ref-vsp"], "did you mean ref-vps?"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "message"), USAGE, ids=[message for _, message in USAGE])
def test_usage(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "download", *args)
    assert code == 2
    assert message in err


def test_files_in_a_form_that_leaves_no_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ref_vps(tmp_path / "set")
    code, _, err = run(capsys, "download", "--from", tmp_path / "set", "--option", "layout=davis")
    assert code == 2
    assert "leave no choice" in err
    (tmp_path / "note.txt").write_text("x")
    code, _, err = run(capsys, "download", "--from", tmp_path / "note.txt")
    assert code == 4
    assert "neither a folder nor a .zip" in err


def test_a_data_set_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_ref_vps(tmp_path / "set")
    assert run(capsys, "download", "mine", "--from", root)[0] == 0
    assert data.load("mine").name == "mine"
    code, out, _ = run(capsys, "list", "benchmarks")
    assert code == 0
    assert "mine" in out
    assert run(capsys, "predict", "-p", "empty", "-b", "mine", "--out", tmp_path / "preds")[0] == 0
    assert run(capsys, "evaluate", "-b", "mine", "--pred", tmp_path / "preds", "--out", tmp_path / "results")[0] == 0


@pytest.mark.parametrize("name", [*IMPORTERS, "vspw"])
def test_what_may_not_be_handed_out_comes_with_steps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "download", name)
    assert (code, out) == (3, "")
    row = IMPORTERS["vspw-stuff" if name == "vspw" else name]
    assert "1. " in err
    for line in (*row.instructions, *row.layout.splitlines(), "--from DIR|ZIP|URL", row.licence):
        assert line in err
    if not any(path.suffix for path in home().rglob("*")):
        from refvps.errors import DataMissingError

        with pytest.raises(DataMissingError) as caught:
            data.load(row.name)
        assert row.instructions[0] in str(caught.value)


def load_toy(root: Path, *, jobs: int, progress: Any, colour: str = "red") -> Benchmark:
    """A loader as IMPORTERS wants it."""
    from dataclasses import replace

    found = load_folder(root / "Annotations", jobs=jobs, progress=progress)
    return replace(found, name="toy", version="1", notes=(f"The colour is {colour}.",))


def test_an_importer_runs_on_a_folder_and_on_a_zip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trees import flat

    row = Importer(
        "toy",
        "test_download:load_toy",
        "a toy",
        "Ask first.",
        ("get it",),
        "Annotations/<video>/<frame>.png",
        {"colour": "any"},
    )
    monkeypatch.setitem(IMPORTERS, "toy", row)
    root = tmp_path / "outer" / "toy-1.0"
    flat(root / "Annotations", (1, 2, 255))
    code, _, err = run(capsys, "download", "toy", "--from", root)
    assert code == 3
    assert "Ask first." in err
    accepted = ["download", "toy", "--accept-licence", "--from"]
    code, _, err = run(capsys, *accepted, root, "--option", "size=3")
    assert code == 2
    assert "--option colour=any" in err
    assert run(capsys, *accepted, root, "--option", "colour=blue")[0] == 0
    assert load_local("toy").notes == ("The colour is blue.",)
    digest = load_local("toy").digest
    shutil.rmtree(home() / "benchmarks")
    shutil.make_archive(str(tmp_path / "toy"), "zip", root.parent)
    code, out, err = run(capsys, "download", "toy", "--from", tmp_path / "toy.zip", "--json", "-j", 2)
    assert code == 0, err
    assert (json.loads(out)["digest"], load_local("toy").notes) == (digest, ("The colour is red.",))
    assert "Ask first." not in err


def test_withdrawn_clips_of_a_repository_are_not_kept(
    server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "source"
    line = {"clip": "smoke.2", "date": "2026-02-01", "reason": "uploader"}
    write_lines(root / "withdrawn.jsonl", [line])
    server.files = tree_of(root)
    assert run(capsys, *from_hub(server))[0] == 0
    assert list(load_local().clips) == ["wax-01", "wave_3"]
    assert not [path for path in registered() if "smoke.2" in path]
    assert len(read_lines(home() / "benchmarks" / "ref-vps" / "withdrawn.jsonl")) == 1


def test_help_has_the_line_of_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.perf_counter()
    code, out, _ = run(capsys, "download", "--help")
    assert code == 0
    assert "Put a benchmark on this machine." in out
    assert "Example: refvps download ref-vps --from ref-vps.zip" in out
    assert time.perf_counter() - started < 5
