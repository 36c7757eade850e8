"""A file as data: where it is, what it must be, and what to do when nobody may hand it out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from refvps.errors import UsageError
from refvps.types import ID
from refvps.zips import shown

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of somebody else. ``name``: what it is called here, a plain file name.

    ``urls``: mirrors, http or https, tried in order; without any, ``instructions`` are the steps to get it.
    ``sha256`` (hex) and ``size`` (bytes) are checked where they are known. ``licence``: what its user agrees to.
    """

    name: str
    urls: tuple[str, ...] = ()
    sha256: str = ""
    size: int | None = None
    licence: str = ""
    instructions: str = ""

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.name):
            raise UsageError("A file name is not allowed.", where=[shown(self.name)], fix="use letters, digits, . _ -")
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise UsageError(
                "This is not a SHA-256.", where=[shown(self.sha256)], fix="give 64 hexadecimal digits in lower case"
            )
        for url in self.urls:
            check_url(url)


def check_url(url: str) -> None:
    """Raise UsageError unless ``url`` is a plain http or https address without a password in it."""
    reason = ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        reason, parts, port = str(error), urlsplit(""), None
    if not reason and parts.scheme not in ("http", "https"):
        reason = f"{parts.scheme or 'no scheme'}, not http or https"
    elif not reason and (not parts.hostname or port == 0):
        reason = "no host"
    elif not reason and parts.username is not None:
        reason = "it holds a user name"
    elif not reason and not (url.isascii() and url.isprintable() and " " not in url):
        reason = "it holds blanks or characters that need escaping"
    if reason:
        without_secret = re.sub(r"//[^/@]*@", "//...@", url)
        raise UsageError(
            "This address cannot be fetched.",
            where=[f"{shown(without_secret)}: {reason}"],
            fix="give an http(s) address, or the path of a file you have",
        )
