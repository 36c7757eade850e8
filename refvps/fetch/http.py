"""Fetch one file over HTTP: mirrors in order, resumed where it broke off, checked, and only then given its name.

What happened to the file is one of: it was there already with the right hash, or, where no hash is known, its
server says that it is the same; it was fetched into ``.<name>.part``, checked and renamed; or the call fails, and
the part is kept for the next call unless its hash was wrong. Resuming follows RFC 9110, section 14: ``Range`` with
``If-Range`` and a strong validator, or, with a known SHA-256, ``Range`` alone, as the hash then decides.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from refvps.errors import DataMissingError, NetworkError, RefvpsError
from refvps.fetch.record import FileRecord, check_url
from refvps.files import locked, sha256_file, write_atomic
from refvps.zips import shown

Progress = Callable[[int, int], None]
"""Called with (bytes there, bytes in all, or bytes there where that is unknown)."""

CHUNK = 1 << 20
MAX_REDIRECTS = 5
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be different in a moment."""

SPARE_BYTES = 64 << 20
"""What is left free on the disk."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a fetch is. ``attempts``: per mirror, without a byte received between them. Times in seconds.

    ``max_bytes`` limits files whose size is not known from their record.
    """

    attempts: int = 5
    timeout: float = 30.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    max_bytes: int = 1 << 40


@dataclass(frozen=True, slots=True)
class _Answer:
    """The beginning of a response: the first byte it gives, the size of the whole file (None: unknown), and how a
    later request can tell that the file is still the same ("" when it cannot)."""

    stream: IO[bytes]
    start: int
    total: int | None
    validator: str


class _Temporary(Exception):
    """An attempt failed that may succeed later; ``wait``: what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _Wrong(Exception):
    """What came is not the file; the part was deleted."""


class _Changed(Exception):
    """The server has no such rest of the file."""


class _Final(Exception):
    """This mirror will not give the file."""


def fetch(
    record: FileRecord,
    folder: Path,
    *,
    offline: bool = False,
    policy: Policy = Policy(),
    progress: Progress | None = None,
    sleep: Callable[[float], None] | None = None,
) -> Path:
    """The file of ``record`` as ``folder/<name>``; fetched unless it is there with its hash.

    Raises DataMissingError with the steps where there is no address, the network must not be used or the disk is
    full; NetworkError, naming every mirror and its reason, when none gave the right file; UsageError when another
    process is fetching the same file.
    """
    path = folder / record.name
    if record.sha256 and path.is_file() and sha256_file(path) == record.sha256:
        return path
    if not record.urls:
        raise DataMissingError(f"{record.name} may not be handed out by refvps.", fix=record.instructions)
    if offline:
        raise DataMissingError(
            "A file is missing, and the network must not be used (REFVPS_OFFLINE).",
            where=[f"{path}, from {shown(record.urls[0])}"],
            fix="allow the network, or put the file there yourself",
        )
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{record.name}.part"
    with locked(folder / f".{record.name}.lock"):
        if path.is_file() and not part.exists():
            os.replace(path, part)  # its server can say whether it is still the same
        failed: list[str] = []
        for url in record.urls:
            try:
                _from_mirror(record, url, part, policy, progress, time.sleep if sleep is None else sleep)
            except _Final as error:
                failed.append(f"{shown(url)}: {error}")
                continue
            os.replace(part, path)
            if record.sha256:
                _note(part).unlink(missing_ok=True)
            return path
    raise NetworkError(
        f"{record.name} could not be fetched.",
        where=failed,
        fix="try again later: what was received is kept, and the next call goes on from there",
    )


def _from_mirror(
    record: FileRecord,
    url: str,
    part: Path,
    policy: Policy,
    progress: Progress | None,
    sleep: Callable[[float], None],
) -> None:
    """Fill ``part`` with the whole, checked file; raises _Final when this mirror cannot."""
    failures = 0
    afresh = False
    while True:
        before = _size(part)
        try:
            _receive(record, url, part, policy, progress)
            _check(record, part)
            return
        except _Wrong as error:
            if afresh or not before:
                raise _Final(f"{error}; it was deleted") from error
            afresh = True  # perhaps only the beginning was wrong, which an earlier call or another mirror left
        except _Temporary as error:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= policy.attempts:
                raise _Final(str(error)) from error
            wait = policy.first_wait * 2 ** (failures - 1) if error.wait is None else error.wait
            sleep(min(policy.longest_wait, wait))


def _receive(record: FileRecord, url: str, part: Path, policy: Policy, progress: Progress | None) -> None:
    """One request; appends to ``part`` what comes, until it is whole."""
    headers, have, validator = _resume(record, url, part)
    try:
        answer = _open(url, headers, have, policy)
    except _Changed as error:
        part.unlink(missing_ok=True)
        raise _Temporary(str(error), wait=0) from error
    if answer is None:
        return
    if (
        answer.start
        and validator.startswith('"')
        and answer.validator.startswith('"')
        and answer.validator != validator
    ):
        answer.stream.close()
        part.unlink()
        raise _Temporary("the server gives the rest of another file", wait=0)
    with answer.stream as stream:
        if record.size is not None and answer.total not in (None, record.size):
            raise _Final(f"the file has {answer.total:,} bytes there, not {record.size:,}")
        known = answer.total if record.size is None else record.size
        limit = policy.max_bytes if known is None else known
        if limit > policy.max_bytes:
            raise _Final(f"the file is larger than {policy.max_bytes:,} bytes")
        _check_disk(part, (known or 0) - answer.start)
        done = answer.start
        with open(part, "ab" if done else "wb") as sink:
            if not done or not validator:  # and after "wb" threw away what another validator stood for
                kept = answer.validator if not done else ""
                write_atomic(_note(part), json.dumps({"url": url, "validator": kept}).encode())
            while chunk := _read(stream):
                done += len(chunk)
                if done > limit:
                    break
                if known is None:
                    _check_disk(part, len(chunk))
                sink.write(chunk)
                if progress is not None:
                    progress(done, known or done)
            sink.flush()
            os.fsync(sink.fileno())
    if done > limit:
        part.unlink()
        raise _Final(f"the server sends more than the {limit:,} bytes that the file should have; they were deleted")
    if known is not None and done < known:
        raise _Temporary(f"the connection ended after {done:,} of {known:,} bytes")


def _read(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Temporary(f"the connection broke ({type(error).__name__}: {shown(error, 120)})") from error


def _resume(record: FileRecord, url: str, part: Path) -> tuple[dict[str, str], int, str]:
    """Headers that ask for the rest of a file, how much of it is kept, and the validator it was kept under.

    Nothing is kept where going on would not be safe.
    """
    have = _size(part)
    try:
        note = json.loads(_note(part).read_bytes())
        validator = note["validator"] if note["url"] == url and isinstance(note["validator"], str) else ""
    except (OSError, ValueError, KeyError, TypeError):
        validator = ""
    if not have or not (validator or record.sha256):
        return {}, 0, ""
    headers = {"Range": f"bytes={have}-"}
    return (headers | {"If-Range": validator} if validator else headers), have, validator


def _open(url: str, headers: Mapping[str, str], have: int, policy: Policy) -> _Answer | None:
    """Send the request and read the head of the answer; None when the part is the whole file already."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "refvps", **headers})
    try:
        response = _opener().open(request, timeout=policy.timeout)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"the server answers {error.code} {shown(error.reason, 80)}"
            if error.code == 416 and have:
                if error.headers.get("Content-Range", "") == f"bytes */{have}":
                    return None
                raise _Changed(reason) from error
            if error.code in RETRIED:
                raise _Temporary(reason, _asked_wait(error.headers)) from error
            raise _Final(reason) from error
    except (OSError, http.client.HTTPException) as error:
        why = shown(getattr(error, "reason", None) or error, 120) or type(error).__name__
        raise _Temporary(f"no connection ({why})") from error
    except RefvpsError as error:  # an address that is not followed
        raise _Final(" ".join([error.what, *error.where])) from error
    try:
        return _answer(response, have)
    except BaseException:
        response.close()
        raise


def _answer(response: Any, have: int) -> _Answer:
    head = response.headers
    if head.get("Content-Encoding", "identity").lower() != "identity":
        raise _Final("the server packs the file, so its size and hash mean nothing")
    length = head.get("Content-Length", "")
    count = int(length) if length.isascii() and length.isdigit() else None
    etag, modified = head.get("ETag", ""), head.get("Last-Modified", "")
    validator = etag if etag.startswith('"') else modified
    if response.status == 206 and have:
        unit, _, span = head.get("Content-Range", "").partition(" ")
        place, _, whole = span.partition("/")
        if unit != "bytes" or not place.startswith(f"{have}-") or not (whole == "*" or whole.isdigit()):
            raise _Temporary("the server gives another part of the file than it was asked for")
        return _Answer(response, have, int(whole) if whole.isdigit() else None, validator)
    if response.status != 200:
        raise _Final(f"the server answers {response.status}")
    return _Answer(response, 0, count, validator)


def _asked_wait(head: Any) -> float | None:
    """What Retry-After asks for, in seconds."""
    text = head.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 10**6))
    moment = email.utils.parsedate_tz(text)
    return None if moment is None else max(0.0, email.utils.mktime_tz(moment) - time.time())


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, to http and https only, and never from https to http."""

    max_redirections = MAX_REDIRECTS
    max_repeats = 2

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_url(newurl)
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise _Final(f"it redirects from https to {shown(newurl)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS, with the proxies of the environment; no files, no FTP, no cookies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _check(record: FileRecord, part: Path) -> None:
    """Compare size and hash; deletes the part when they are wrong."""
    size, found = part.stat().st_size, ""
    if record.size is not None and size != record.size:
        found = f"it has {size:,} bytes, not {record.size:,}"
    elif record.sha256 and (hashed := sha256_file(part)) != record.sha256:
        found = f"the SHA-256 of what came is {hashed}, not {record.sha256}"
    if found:
        part.unlink()
        raise _Wrong(found)


def _check_disk(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > 0 and free < needed + SPARE_BYTES:
        raise DataMissingError(
            "There is not enough space for this file.",
            where=[f"{part.parent}: {needed:,} bytes needed, {free:,} free"],
            fix="make room, or set REFVPS_HOME to a larger disk",
        )


def _note(part: Path) -> Path:
    """Where it is kept which address the part came from."""
    return part.with_name(part.name + ".json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
