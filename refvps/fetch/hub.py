"""A dataset repository of the Hugging Face hub: pinned to a commit, downloaded, checked file by file.

huggingface_hub does the transfer, into its own cache (``$HF_HOME``), and resumes by whole files. Over plain HTTP it
checks sizes only, so every file is compared here with the hash its repository lists: SHA-256 for large files, the
git hash for the others. A file that differs is deleted and fetched once more.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

from refvps import home
from refvps.errors import DataMissingError, NetworkError, RefvpsError, UsageError
from refvps.fetch.http import Progress
from refvps.fetch.record import check_url
from refvps.files import canonical_json, parse_json, write_atomic
from refvps.zips import is_junk, shown

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_CHUNK = 1 << 20
MAX_FILES = 2_000_000
FRAMES = ("frames/*", "*/frames/*", "JPEGImages/*", "*/JPEGImages/*", "*.jpg", "*.jpeg", "*.webp", "*.mp4")
"""What is left out when frames are not wanted."""

TERMS = ("LICENSE*", "LICENCE*", "README.md", "benchmark.json")
"""Where a repository states its licence."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of a repository: its path, size in bytes, and hash, "sha256:..." or "git:..."."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Repository:
    """A dataset repository at one commit. ``files`` is empty when the network must not be used and nothing is known
    of its hashes; then nothing can be checked."""

    repo: str
    revision: str
    commit: str
    files: tuple[Remote, ...]
    endpoint: str | None = None
    offline: bool = False

    def __str__(self) -> str:
        return f"hub:{self.repo}@{self.commit}"


def find(repo: str, *, revision: str | None = None, endpoint: str | None = None, offline: bool = False) -> Repository:
    """Ask the hub for the commit of a revision (a branch, tag or commit; default main) and its list of files.

    ``offline``: nothing is asked, and what was downloaded before is used. Raises UsageError for a name that cannot
    be one; DataMissingError, with what to do, for no such repository or revision and for one whose conditions were
    not accepted; NetworkError for everything the network does.
    """
    wanted = revision or "main"
    _check_names(repo, wanted, endpoint)
    if offline:
        return _known(repo, wanted, endpoint)
    api = _api(endpoint)
    with _translated(repo, wanted):
        commit = wanted if _COMMIT.fullmatch(wanted) else api.dataset_info(repo, revision=wanted).sha
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise NetworkError("The hub does not say which commit this is.", where=[f"{repo}@{wanted}"])
        listed = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")
        files = tuple(sorted(_remotes(listed, repo), key=lambda file: file.path))
    return Repository(repo, wanted, commit, files, endpoint)


def download(
    repository: Repository,
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Path]:
    """The files of a repository as path -> checked file in the cache; never write to these.

    ``only`` and ``without``: patterns of paths as fnmatch has them, where "*" also stands for "/". ``progress``
    counts bytes. Raises NetworkError when the transfer fails or a file does not have its hash after two attempts.
    """
    files = {file.path: file for file in _chosen(repository.files, only, without)}
    if repository.files and not files:
        return {}
    total = sum(file.size for file in files.values())
    folder = _snapshot(repository, only, without, total, progress)
    if repository.offline and not files:
        return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    wrong = _differing(folder, files)
    if wrong and not repository.offline:
        _forget(folder, wrong)
        _snapshot(repository, only, without, total, progress)
        wrong = _differing(folder, files)
    if wrong:
        _forget(folder, wrong)
        raise NetworkError(
            "Downloaded files are not those of the repository; they were deleted.",
            where=[f"{shown(path)}: {reason}" for path, reason in sorted(wrong.items())],
            fix="try again later; if it stays like this, report it to the owner of the repository",
        )
    if not repository.offline:
        _remember(repository)
    return {path: folder / path for path in files}


def place(files: dict[str, Path], folder: Path) -> None:
    """Give checked files of the cache their own names below ``folder``: hard links, or copies on another disk."""
    for path, cached in sorted(files.items()):
        real, named = cached.resolve(), folder / path
        named.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(real, named)
        except OSError:
            shutil.copyfile(real, named)


def licence_of(names: Sequence[str], read: Callable[[str], bytes]) -> str:
    """The terms a data set states: its licence file, else a field of benchmark.json or of its card, else ""."""
    for path in sorted(names, key=str.lower):
        if "/" not in path and path.upper().startswith(("LICENSE", "LICENCE")):
            return read(path).decode("utf-8", "replace").strip()
    if "benchmark.json" in names:
        about = parse_json(read("benchmark.json"), "benchmark.json")
        if isinstance(about, dict) and isinstance(about.get("licence"), str) and about["licence"]:
            return str(about["licence"])
    if "README.md" in names:
        text = read("README.md").decode("utf-8", "replace")
        head = text[4:].partition("\n---")[0] if text.startswith("---\n") else ""
        if found := re.search(r"^license:[ \t]*(\S.*)$", head, re.MULTILINE):
            return found[1].strip()
    return ""


def _check_names(repo: str, revision: str, endpoint: str | None) -> None:
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        raise UsageError("This is not a repository.", where=[shown(repo)], fix="name it as ORG/NAME")
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise UsageError("This is not a revision.", where=[shown(revision)], fix="give a branch, tag or commit")
    if endpoint is not None:
        check_url(endpoint)


def _api(endpoint: str | None) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, library_name="refvps")


def _remotes(listed: Any, repo: str) -> Iterator[Remote]:
    """The files in a listing of the hub; raises NetworkError for paths that could leave a folder."""
    count = 0
    for entry in listed:
        if not hasattr(entry, "blob_id"):  # a folder
            continue
        path, large = entry.path, entry.lfs
        parts = path.split("/")
        if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts):
            raise NetworkError("A repository holds a path that is not plain.", where=[f"{repo}: {shown(path)}"])
        count += 1
        if count > MAX_FILES:
            raise NetworkError("A repository holds too many files.", where=[f"{repo}: over {MAX_FILES:,}"])
        if not any(is_junk(part) for part in parts):
            yield Remote(path, int(entry.size), f"sha256:{large.sha256}" if large else f"git:{entry.blob_id}")


def _chosen(files: Sequence[Remote], only: Sequence[str], without: Sequence[str]) -> list[Remote]:
    """As huggingface_hub chooses files by patterns."""

    def fits(path: str, patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in patterns)

    return [file for file in files if (not only or fits(file.path, only)) and not fits(file.path, without)]


def _snapshot(
    repository: Repository, only: Sequence[str], without: Sequence[str], total: int, progress: Progress | None
) -> Path:
    from huggingface_hub import snapshot_download

    with _translated(repository.repo, repository.revision, repository.offline):
        return Path(
            snapshot_download(
                repository.repo,
                repo_type="dataset",
                revision=repository.commit or repository.revision,
                endpoint=repository.endpoint,
                cache_dir=home.hub_cache(),
                library_name="refvps",
                allow_patterns=list(only) or None,
                ignore_patterns=[*without, ".*", "*/.*"],
                local_files_only=repository.offline,
                tqdm_class=_bar(total, progress),
            )
        )


def _bar(total: int, progress: Progress | None) -> Any:
    """A silent progress bar for huggingface_hub that reports the bytes of its fullest bar."""
    base: Any = import_module("huggingface_hub.utils").tqdm

    class Bar(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            self.received = 0
            self.bytes = options.get("unit") == "B"
            super().__init__(*args, **(options | {"disable": True}))

        def update(self, n: float | None = 1) -> bool | None:
            self.received += int(n or 0)
            if self.bytes and progress is not None:
                progress(min(self.received, total), total)
            return None

    return Bar


def _differing(folder: Path, files: dict[str, Remote]) -> dict[str, str]:
    """What is wrong with the downloaded files, by path."""
    root = folder.parent.parent.resolve()
    wrong: dict[str, str] = {}
    for path, file in files.items():
        real = (folder / path).resolve()
        if not real.is_file() or not real.is_relative_to(root):
            wrong[path] = "it is not there"
        elif (size := real.stat().st_size) != file.size:
            wrong[path] = f"{size:,} bytes, not {file.size:,}"
        elif (found := _digest(real, file.digest)) != file.digest:
            wrong[path] = f"its hash is {found}, not {file.digest}"
    return wrong


def _digest(path: Path, like: str) -> str:
    """Hash of a file in the manner of ``like``: SHA-256, or that of git."""
    kind = like.partition(":")[0]
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        digest.update(b"blob %d\0" % path.stat().st_size)
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return f"{kind}:{digest.hexdigest()}"


def _forget(folder: Path, wrong: dict[str, str]) -> None:
    """Delete damaged files, and what the cache of huggingface_hub keeps under their names."""
    root = folder.parent.parent.resolve()
    for path in wrong:
        real = (folder / path).resolve()
        (folder / path).unlink(missing_ok=True)
        if real.is_relative_to(root):
            real.unlink(missing_ok=True)


def _note(repo: str, name: str) -> Path:
    return home.home() / "hub" / repo.replace("/", "--") / f"{name}.json"


def _remember(repository: Repository) -> None:
    """Keep the commit and the list of hashes, so that files can be checked without the network."""
    files = [[file.path, file.size, file.digest] for file in repository.files]
    record = {"repo": repository.repo, "commit": repository.commit, "files": files}
    write_atomic(_note(repository.repo, repository.commit), canonical_json(record))
    revisions = _note(repository.repo, "revisions")
    known = parse_json(revisions.read_bytes(), str(revisions)) if revisions.is_file() else {}
    write_atomic(revisions, canonical_json(known | {repository.revision: repository.commit}))


def _known(repo: str, revision: str, endpoint: str | None) -> Repository:
    """A repository from what an earlier download left behind, here or in the cache of huggingface_hub."""
    revisions = _note(repo, "revisions")
    known = parse_json(revisions.read_bytes(), str(revisions)) if revisions.is_file() else {}
    commit = revision if _COMMIT.fullmatch(revision) else known.get(revision, "")
    if not commit:
        asked = Repository(repo, revision, "", (), endpoint, offline=True)
        commit = _snapshot(asked, (), (), 0, None).name
    note = _note(repo, commit)
    record = parse_json(note.read_bytes(), str(note)) if note.is_file() else {"files": []}
    files = tuple(Remote(path, size, digest) for path, size, digest in record["files"])
    return Repository(repo, revision, commit, files, endpoint, offline=True)


@contextmanager
def _translated(repo: str, revision: str, offline: bool = False) -> Iterator[None]:
    """Turn the errors of huggingface_hub into ours."""
    from huggingface_hub import errors

    place = [f"{repo}@{revision}"]
    try:
        yield
    except RefvpsError:
        raise
    except errors.GatedRepoError as error:
        raise DataMissingError(
            "The owner of this repository hands it out on conditions that you have not accepted yet.",
            where=place,
            fix=f"1. open https://huggingface.co/datasets/{repo} and accept them\n  2. run: hf auth login\n"
            "  3. run this command again",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DataMissingError(
            "There is no such dataset repository, or it is private.",
            where=place,
            fix="check ORG/NAME; for a private repository run: hf auth login",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DataMissingError(
            "The repository has no such revision.", where=place, fix="give a branch, a tag or a commit of 40 digits"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        if offline or isinstance(error, errors.OfflineModeIsEnabled):
            raise DataMissingError(
                "This repository was not downloaded whole, and the network must not be used.",
                where=place,
                fix="unset REFVPS_OFFLINE and HF_HUB_OFFLINE for one download",
            ) from error
        raise _failed(place, error) from error
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        proxy = isinstance(error, ImportError | ValueError) and "proxy" in str(error).lower()  # of httpx, too
        if proxy or isinstance(error, OSError | errors.EntryNotFoundError) or library.startswith(("httpx", "httpcore")):
            raise _failed(place, error) from error
        raise


def _failed(place: list[str], error: Exception) -> NetworkError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return NetworkError(
        "The download from the hub failed.",
        where=[f"{place[0]}: {shown(reason, 200)}"],
        fix="run the same command again: files that came whole are kept; REFVPS_OFFLINE=1 uses what is here already",
    )
