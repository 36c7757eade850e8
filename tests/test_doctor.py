"""``refvps doctor``: what is broken is found, named and given a fix; nothing secret shown, nothing heavy imported."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trees import write_ref_vps

import refvps
from refvps import cli, doctor
from refvps.doctor import machine, packages, stores
from refvps.files import locked

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run(capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""

    def call(*args):
        code = cli.run([str(arg) for arg in args])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def quick(monkeypatch):
    """No module is tried in a process of its own."""
    monkeypatch.setattr(packages, "_run_python", lambda code: ("5.0.0" if "cv2" in code else "0", ""))


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home of refvps below an empty home of the user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / "kept"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "kept"


def named(findings, name):
    return [each for each in findings if each.name == name]


def distribution(folder, name, version="1.0", points=""):
    """What an installed package leaves in site-packages."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)


# --- the whole -------------------------------------------------------------------------------------


def test_a_sound_installation_is_exit_0_in_one_block(home):
    """As a user runs it; nothing heavy is imported, the home folder does not show."""
    code = (
        "import sys; from refvps import cli; done = cli.run(['doctor']);"
        "print('heavy', sorted({'torch', 'cv2', 'numba', 'matplotlib', 'diffusers'} & set(sys.modules)));"
        "sys.exit(done)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=home.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "heavy []" in done.stdout
    assert done.stdout.isascii()
    assert str(home.parent) not in done.stdout
    words = " ".join(done.stdout.split())
    for wanted in (f"refvps {refvps.__version__}", "numpy ", "cv2 ", "numba ", "gpu ", "disk of home", "~/kept",
                   "14 clips, 56 expressions", "HF_TOKEN", "no problem found"):  # fmt: skip
        assert wanted in words, wanted


def test_output_that_is_not_utf8_is_said_and_survived(home, quick):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "refvps", "doctor"], env=env, capture_output=True, cwd=home.parent)
    assert done.returncode == 0, done.stderr
    assert b"output ascii" in done.stdout
    assert b"PYTHONUTF8=1" in done.stdout


def test_json_holds_the_same(home, quick, run):
    code, out, _ = run("doctor", "--json")
    found = json.loads(out)
    assert code == 0 and found["ok"] is True
    assert list(found["sections"]) == ["install", "packages", "plugins", "machine", "data", "weights", "settings"]
    assert found["sections"]["install"][0]["name"] == "refvps"
    assert all(each["fix"] for part in found["sections"].values() for each in part if each["state"] == "problem")


def test_secrets_are_never_shown(home, quick, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecrettoken1")
    monkeypatch.setenv("REFVPS_UPLOAD_TOKEN", "verysecret2")
    monkeypatch.setenv("REFVPS_API_KEY", "verysecret3")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:verysecret4@hub.example/x")
    monkeypatch.setenv("REFVPS_OUT", "/data/hf_verysecret5/x")
    monkeypatch.setenv("REFVPS_JOBS", "3")
    for extra in ([], ["--json"]):
        code, out, err = run("doctor", *extra)
        assert code == 0
        assert "verysecret" not in out + err
    assert "HF_ENDPOINT" in out and "https://***@hub.example/x" in out and "REFVPS_JOBS" in out
    rows = {each["name"]: each["value"] for each in json.loads(out)["sections"]["settings"]}
    assert rows["HF_TOKEN"] == "set" and rows["REFVPS_UPLOAD_TOKEN"] == "set" and rows["REFVPS_JOBS"] == "3"
    monkeypatch.delenv("HF_TOKEN")
    assert "not set" in run("doctor")[1]


def test_tidy_text():
    own = str(Path.home())
    assert doctor.tidy(f"{own}/x and {own}") == "~/x and ~"
    assert doctor.tidy(f"{own}er/x") == f"{own}er/x"
    assert doctor.tidy("a\x1b[2Jb\n c") == "a [2Jb c"
    assert doctor.tidy("/données") == "/donn\\xe9es"


# --- packages --------------------------------------------------------------------------------------


def test_two_builds_of_opencv_are_a_problem(home, quick, run, monkeypatch, tmp_path):
    distribution(tmp_path / "site", "opencv-python", "4.9.0.80")
    monkeypatch.syspath_prepend(tmp_path / "site")
    code, out, _ = run("doctor")
    assert code == 7
    assert "! opencv" in out and "opencv-python 4.9.0.80" in out and "opencv-python-headless" in out
    assert "fix: pip uninstall -y opencv-python-headless opencv-python && pip install opencv-python-headless" in out
    assert "1 problem, marked with !" in out


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")', "libGL.so.1"),
        ('__version__ = "4.9.0"', "files of two builds are mixed"),
        ("import os; os.abort()", "the process died"),
    ],
)
def test_a_cv2_that_does_not_work_is_a_problem(monkeypatch, tmp_path, source, told):
    (tmp_path / "cv2.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = named(packages.opencv(), "cv2")
    assert found.state == "problem" and told in found.value
    assert "opencv-python-headless" in found.fix


def test_a_module_that_hangs_is_given_up(monkeypatch, tmp_path):
    (tmp_path / "cv2.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(packages, "PATIENCE", 0.5)
    started = time.monotonic()
    (found,) = named(packages.opencv(), "cv2")
    assert found.state == "problem" and time.monotonic() - started < 10


def test_old_and_absent_packages(quick, monkeypatch):
    wanted = {"": {"numpy": "999", "no-such-thing": "1"}, "video": {"av": "", "absent": "2"}, "fast": {"numba": "999"}}
    monkeypatch.setattr(packages, "requirements", lambda: wanted)
    found = {each.name: each for each in packages.packages()}
    assert found["core"].state == "problem"
    assert "needed: numpy>=999, no-such-thing>=1" in found["core"].value
    assert found["core"].fix == "pip install --upgrade 'numpy>=999' 'no-such-thing>=1'"
    assert found["[video]"].state == "ok" and "absent -" in found["[video]"].value
    assert found["[fast]"].state == "note" and "numba>=999" in found["[fast]"].fix


def test_requirements_from_a_checkout_and_from_a_wheel(monkeypatch, tmp_path):
    from_source = packages.requirements()
    assert from_source[""]["numpy"] == "2" and from_source["video"]["av"] and "all" not in from_source
    info = tmp_path / "refvps-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: refvps\nVersion: 0.1.0\nRequires-Dist: numpy>=2\n"
        'Requires-Dist: av>=14; extra == "video"\nRequires-Dist: refvps[video]; extra == "annotate"\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(packages.refvps, "__file__", str(tmp_path / "refvps" / "__init__.py"))
    assert packages.requirements() == {"": {"numpy": "2"}, "video": {"av": "14"}}
    assert packages._at_least("2.13.0+cpu", "2.6") and not packages._at_least("2.4.9", "2.6")
    assert packages._at_least("5.0.0.93", "4.10") and packages._at_least("2", "2")


def test_another_refvps_that_is_installed_is_said(monkeypatch, tmp_path):
    distribution(tmp_path, "refvps", "0.0.7")
    (tmp_path / "refvps").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    found, _, _ = packages.install()
    assert found.state == "note" and "another one is installed, 0.0.7" in found.value


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ('{"url": "file:///src/x", "dir_info": {"editable": true}}', "editable install of /src/x"),
        ('{"url": "file:///src/x.whl", "archive_info": {}}', "installed from /src/x.whl"),
        ("", "installed from an index"),
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
    ],
)
def test_how_it_was_installed(tmp_path, record, told):
    from importlib.metadata import PathDistribution

    (tmp_path / "direct_url.json").write_text(record)
    assert told in packages._how(PathDistribution(tmp_path))


# --- plugins ---------------------------------------------------------------------------------------


def test_plugins_are_looked_up_and_never_run(home, quick, run, monkeypatch, tmp_path):
    site, marker = tmp_path / "site", tmp_path / "imported"
    bomb = f"open({str(marker)!r}, 'w')\n"
    (site / "deep" / "part").mkdir(parents=True)
    (site / "deep" / "__init__.py").write_text(bomb)
    (site / "deep" / "part" / "__init__.py").write_text(bomb)
    (site / "deep" / "part" / "model.py").write_text(
        bomb + "try:\n    from x import load\nexcept ImportError:\n    load = 1\n"
    )
    (site / "flat.py").write_text(bomb + "def load(): ...\n")
    (site / "broken.py").write_text("def load(:\n")
    distribution(
        site,
        "my-methods",
        points="[refvps.predictors]\ngood = deep.part.model:load\nflat = flat:load\nlost = deep.gone:load\n"
        "nothing = nowhere_at_all:load\nempty_handed = flat:predictor\nbad = broken:load\n"
        "[refvps.benchmarks]\nfine = flat:load\n",
    )
    distribution(site, "other-methods", points="[refvps.predictors]\nflat = deep.part.model:load\n")
    monkeypatch.syspath_prepend(site)
    found = [(each.name, each.state, each.value) for each in packages.plugins()]
    assert not marker.exists()
    assert not {"deep", "deep.part", "flat"} & set(sys.modules)
    state = {name.split()[-1]: state for name, state, _ in found if name != "refvps.predictors flat"}
    assert (state["good"], state["fine"]) == ("ok", "ok")
    assert {name for name, kind in state.items() if kind == "problem"} == {"lost", "nothing", "empty_handed", "bad"}
    told = " ".join(value for _, _, value in found)
    for each in ("there is no module deep.gone", "there is no module nowhere_at_all", "flat defines no predictor",
                 "two packages use one name"):  # fmt: skip
        assert each in told
    code, out, _ = run("doctor")
    assert code == 7 and "fix: pip install --force-reinstall my-methods" in out


def test_names_that_a_module_makes_up_are_believed(tmp_path, monkeypatch):
    (tmp_path / "stars.py").write_text("from os import *\n")
    (tmp_path / "lazy.py").write_text("def __getattr__(name): ...\n")
    (tmp_path / "given.py").write_text("import json as load\nif True:\n    for other in (): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, attribute in (
        ("stars", "load"),
        ("lazy", "load"),
        ("given", "load.x"),
        ("given", "other"),
        ("given", ""),
    ):
        assert packages.unresolved(module, attribute) == ""
    assert packages.unresolved("given", "json") == "given defines no json"
    assert packages.unresolved("given.deeper", "x") == "there is no module given.deeper"
    assert packages.unresolved("", "x")


# --- data ------------------------------------------------------------------------------------------


@pytest.fixture
def registered(home, tmp_path):
    """A registered data set with frames."""
    assert cli.run(["download", "-q", "ref-vps", "--from", str(write_ref_vps(tmp_path / "set"))]) == 0
    return home / "benchmarks" / "ref-vps" / "local"


def test_a_registered_data_set_is_listed_with_its_digest(registered, quick, run):
    code, out, _ = run("doctor")
    digest = json.loads((registered / "benchmark.json").read_text())["digest"][:12]
    assert code == 0
    assert f"digest {digest}, 3 clips, 6 expressions" in out and "complete (--deep also compares every file)" in out
    assert "frames of 3 clips" in out
    code, out, _ = run("doctor", "--deep")
    assert code == 0 and "intact" in out


@pytest.mark.parametrize(
    ("damage", "deep_only", "told"),
    [
        (lambda f: (f / "bits/wax-01.bits").unlink(), False, "bits/wax-01.bits is not there"),
        (lambda f: (f / "masks/smoke.2.jsonl").write_bytes(b""), False, "masks/smoke.2.jsonl is empty"),
        (lambda f: (f / "frames/wax-01/00003.jpg").unlink(), False, "00003.jpg is not there"),
        (lambda f: (f / "clips.jsonl").write_text("{}"), False, "damaged"),
        (lambda f: (f / "benchmark.json").write_text("{"), False, "damaged"),
        (lambda f: (f / "benchmark.json").write_text('{"schema": 3}'), False, "damaged"),
        (lambda f: flip(f / "bits/wax-01.bits"), True, "bits/wax-01.bits has changed"),
        (lambda f: flip(f / "masks/wave_3.jsonl"), True, "masks/wave_3.jsonl has changed"),
        (lambda f: flip(f / "frames/wave_3/00001.jpg"), True, "a frame has changed"),
    ],
)
def test_damage_is_found(registered, quick, run, damage, deep_only, told):
    damage(registered)
    assert run("doctor")[0] == (0 if deep_only else 7)
    code, out, _ = run("doctor", "--deep")
    assert code == 7
    assert told in out
    assert "rm -r ~/kept/benchmarks/ref-vps/local; then refvps download ref-vps --from DIR|ZIP" in out


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def test_a_folder_without_a_record_and_progress(registered, quick):
    (registered.parent / "half").mkdir()
    seen = []
    found = list(stores.data(True, lambda done, total: seen.append((done, total))))
    assert named(found, "ref-vps@half")[0].state == "problem"
    assert seen[0] == (1, seen[-1][1]) and seen[-1][0] == seen[-1][1] == 2 * 3 + 3 * 7


def test_what_killed_processes_left_is_a_note(registered, quick, run):
    old = registered.parent / ".staging-abc"
    (old / "masks").mkdir(parents=True)
    (old / "masks" / "x").write_bytes(b"12345")
    tmp = registered / "masks" / ".a.jsonl.1f.tmp"
    tmp.write_bytes(b"1")
    assert not named(stores.leftovers(registered.parents[2]), "temporary files")  # they may be in use
    for path in (old, tmp):
        os.utime(path, (1, 1))
    code, out, _ = run("doctor")
    assert code == 0
    assert (
        "~ temporary files" in out and "2 from killed processes, 6 B" in out and "fix: rm -r ~/kept/benchmarks/" in out
    )
    with locked(registered.parent / ".lock"):
        assert "is held by a process that runs now" in run("doctor")[1]
    assert "is held" not in run("doctor")[1]


def test_a_home_that_cannot_be_used(monkeypatch, tmp_path, quick, run):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / "file" / "home"))
    code, out, _ = run("doctor")
    assert code == 7 and "is a file where a folder is needed" in out


def test_little_disk_is_a_problem(monkeypatch, tmp_path):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    for free, state in ((1 << 20, "problem"), (1 << 30, "note"), (1 << 40, "ok")):
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda path, free=free: usage(1 << 41, 0, free))
        found = machine.disk("disk of home", tmp_path / "not" / "yet")
        assert found.state == state and bool(found.fix) == (state != "ok")


def test_weights_are_read_from_the_folder(home, monkeypatch, tmp_path):
    assert "no models" in next(stores.weights()).value
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    repo = tmp_path / "hf/hub/models--org--net"
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs/aa").write_bytes(b"x" * (3 << 19))
    (repo / "blobs/bb.incomplete").write_bytes(b"x")
    (repo / "snapshots/0123456789abcdef").mkdir(parents=True)
    (repo / "snapshots/0123456789abcdef/model").symlink_to(repo / "blobs/aa")
    (repo / "snapshots/0123456789abcdef/lost").symlink_to(repo / "blobs/zz")
    for k in range(14):
        (tmp_path / f"hf/hub/models--org--m{k:02d}").mkdir()
    head, first, *rest = stores.weights()
    assert "15 models" in head.value
    assert first.name == "org/net" and "revision 0123456789ab" in first.value and first.state == "note"
    assert "1 unfinished and 1 lost files" in first.value and first.fix.endswith("hf download org/net")
    assert rest[-1].value == "3 more"


# --- machine ---------------------------------------------------------------------------------------


def smi(folder, script):
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return str(folder)


def test_gpus(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "PATIENCE", 1)
    cases = {
        "echo 'NVIDIA H100, 550.1, 81559 MiB, 12 MiB'; echo 'NVIDIA L4, 550.1, 23034 MiB, 0 MiB'": (
            "ok",
            "NVIDIA H100, 81559 MiB of which 12 MiB are in use, driver 550.1",
        ),
        "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18": ("note", "version mismatch"),
        "exit 9": ("note", "code 9"),
        "exec sleep 30": ("note", "does not answer"),
        "echo strange": ("ok", "strange"),
    }
    for number, (script, (state, told)) in enumerate(cases.items()):
        monkeypatch.setenv("PATH", smi(tmp_path / str(number), script) + os.pathsep + os.environ["PATH"])
        found = list(machine.gpus())
        assert found[0].state == state and told in found[0].value, script
        assert len(found) == (2 if number == 0 else 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not installed" in next(machine.gpus()).value


def test_memory_says_the_limit_of_the_container(monkeypatch):
    real = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **k: "1048576" if "cgroup" in str(self) else real(self, *a, **k)
    )
    assert machine.memory().endswith("this container may use 1.0 MiB")
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **k: "max" if "cgroup" in str(self) else real(self, *a, **k)
    )
    assert "container" not in machine.memory()


@pytest.mark.parametrize("place", ["plain", "my drive", "it's; touch x", "a\tb $(touch y)"])
def test_what_to_delete_is_quoted_for_the_shell(place, tmp_path, monkeypatch, run):
    """A command that is pasted deletes the folder it names, and nothing beside it."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / place))
    bare, broken = (tmp_path / place / "benchmarks" / name / "1" for name in ("bare", "broken"))
    bare.mkdir(parents=True)
    broken.mkdir(parents=True)
    (broken / "benchmark.json").write_text("{")
    code, out, _ = run("doctor", "--json")
    found = {one["name"]: one["fix"] for one in json.loads(out)["sections"]["data"] if "rm -r" in one["fix"]}
    assert code == 7 and set(found) == {"bare@1", "broken@1"}
    for name, folder in (("bare@1", bare), ("broken@1", broken)):
        command = found[name].partition("rm -r ")[2].partition("; then refvps download")[0]
        assert shlex.split(command) == [" ".join(str(folder).replace(str(tmp_path), "~").split())]
        assert command.startswith("~/")  # in quotes, ~ would be no home
