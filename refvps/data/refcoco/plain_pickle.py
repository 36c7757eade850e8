"""Pickles of plain data, read by a machine that can do nothing else.

A pickle is a program, and Python's own unpickler runs it: it imports modules and calls what they hold. The machine
here knows only the instructions that build None, bool, int, float, str, bytes, list, tuple, dict and set, as
``pickle`` of Python 2 (protocols 0 to 2) and 3 (3 to 5) writes them. It has no instruction that imports, calls or
makes an instance, so there is nothing to slip past. Texts of Python 2, which are bytes there, are read as Latin-1.
"""

from __future__ import annotations

import codecs
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refvps.errors import InputError
from refvps.files import read_bytes

MAX_PICKLE_BYTES = 1 << 28
"""Largest pickle that is read; the largest list of RefCOCO has some 50 MB."""

MAX_PROTOCOL = 5
_MARK = object()
_MAX_DIGITS = 40
_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})
_FLOAT = struct.Struct(">d")


class PickleError(ValueError):
    """A file that is not a pickle of plain data; the message says at which byte, and why."""


def read_pickle(path: Path) -> Any:
    """The plain data in a pickle file; raises InputError for anything else."""
    data = read_bytes(path, MAX_PICKLE_BYTES)
    try:
        return loads(data)
    except PickleError as error:
        raise InputError(
            "A pickle does not hold plain data and was not opened.",
            where=[f"{path}: {error}"],
            fix="get the file again from those who publish it",
        ) from error


def loads(data: bytes) -> Any:
    """The plain data in a pickle; raises PickleError, and never runs anything."""
    machine = _Machine(data)
    code = 0
    try:
        while True:
            code = data[machine.at]
            machine.at += 1
            if code == _STOP:
                (value,) = machine.stack
                if value is _MARK:
                    raise PickleError("the value is missing")
                return value
            _ACTIONS[code](machine)
    except KeyError:
        raise PickleError(f"byte {machine.at - 1:,}: {_refused(code)}") from None
    except (IndexError, struct.error):
        raise PickleError(f"byte {machine.at:,}: the file is cut off, or damaged") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise PickleError(f"byte {machine.at:,}: {error}"[:200]) from None


def _refused(code: int) -> str:
    known = pickletools.code2op.get(chr(code))  # type: ignore[attr-defined]
    if known is None:
        return f"{bytes([code])!r} is no instruction of a pickle"
    return f"the instruction {known.name} is not needed for plain data, and refused"


class _Machine:
    """A stack, the values that were put aside by number, and a place in the data."""

    __slots__ = ("at", "data", "memo", "stack")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> bytes:
        """The next bytes."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise IndexError
        return self.data[start : self.at]

    def number(self, count: int) -> int:
        """The next bytes as an unsigned number."""
        return int.from_bytes(self.take(count), "little")

    def line(self) -> bytes:
        """The bytes up to the end of the line."""
        stop = self.data.index(b"\n", self.at)
        start, self.at = self.at, stop + 1
        return self.data[start:stop]

    def above_mark(self) -> list[Any]:
        """Take what stands above the last mark, and the mark."""
        stack = self.stack
        at = len(stack) - 1
        while stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError
        found = stack[at + 1 :]
        del stack[at:]
        return found

    def into(self, kind: type) -> Any:
        """The container on top of the stack, which must be of this kind."""
        top = self.stack[-1]
        if type(top) is not kind:
            raise ValueError(f"a {kind.__name__} was expected")
        return top


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def action(machine: _Machine) -> None:
        machine.stack.append(value(machine))

    return action


def _pop(machine: _Machine) -> Any:
    value = machine.stack.pop()
    if value is _MARK:
        raise ValueError("a value is missing")
    return value


def _last(machine: _Machine, count: int) -> tuple[Any, ...]:
    values = [_pop(machine) for _ in range(count)]
    return tuple(reversed(values))


def _protocol(machine: _Machine) -> None:
    if (found := machine.number(1)) > MAX_PROTOCOL:
        raise ValueError(f"protocol {found} is not known")


def _frame(machine: _Machine) -> None:
    machine.take(8)  # how long the frame is, which is of use to streams only


def _drop(machine: _Machine) -> None:
    machine.stack.pop()


def _drop_marked(machine: _Machine) -> None:
    machine.above_mark()


def _int_line(machine: _Machine) -> int | bool:
    line = machine.line()
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else _digits(line)


def _digits(line: bytes) -> int:
    if len(line) > _MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(line.removesuffix(b"L"))


def _signed(count: int) -> Callable[[_Machine], int]:
    return lambda machine: int.from_bytes(machine.take(count), "little", signed=True)


def _counted_number(size: int) -> Callable[[_Machine], int]:
    def value(machine: _Machine) -> int:
        count = machine.number(size)
        if count > _MAX_DIGITS:
            raise ValueError("a number is too long")
        return int.from_bytes(machine.take(count), "little", signed=True)

    return value


def _latin(size: int) -> Callable[[_Machine], str]:
    return lambda machine: machine.take(machine.number(size)).decode("latin-1")


def _utf8(size: int) -> Callable[[_Machine], str]:
    return lambda machine: machine.take(machine.number(size)).decode("utf-8", "surrogatepass")


def _raw(size: int) -> Callable[[_Machine], bytes]:
    return lambda machine: machine.take(machine.number(size))


def _quoted(machine: _Machine) -> str:
    line = machine.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a text without quotes")
    found: bytes = codecs.escape_decode(line[1:-1])[0]
    return found.decode("latin-1")


def _extend(machine: _Machine) -> None:
    values = machine.above_mark()
    machine.into(list).extend(values)


def _add_items(machine: _Machine) -> None:
    values = machine.above_mark()
    machine.into(set).update(_keys(values))


def _set_items(machine: _Machine) -> None:
    values = machine.above_mark()
    machine.into(dict).update(_pairs(values))


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(_keys(values[::2]), values[1::2], strict=True))


def _keys(values: list[Any]) -> list[Any]:
    """Values as keys: plain ones only, because hashing a deep tuple overflows the stack of the interpreter."""
    for value in values:
        if type(value) not in _PLAIN:
            raise ValueError(f"a {type(value).__name__} as a key")
    return values


def _set_item(machine: _Machine) -> None:
    key, value = _last(machine, 2)
    machine.into(dict).update(_pairs([key, value]))


def _append(machine: _Machine) -> None:
    value = _pop(machine)
    machine.into(list).append(value)


def _put(number: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    def action(machine: _Machine) -> None:
        at = number(machine)
        if machine.stack[-1] is _MARK:
            raise ValueError("a mark cannot be put aside")
        machine.memo[at] = machine.stack[-1]

    return action


def _get(number: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    def action(machine: _Machine) -> None:
        at = number(machine)
        if at not in machine.memo:
            raise ValueError(f"nothing was put aside under {at}")
        machine.stack.append(machine.memo[at])

    return action


def _numbered(size: int) -> Callable[[_Machine], int]:
    return lambda machine: machine.number(size)


def _on_line(machine: _Machine) -> int:
    return _digits(machine.line())


_STOP = ord(".")
_ACTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _protocol,
    0x95: _frame,
    ord("("): _push(lambda machine: _MARK),
    ord("0"): _drop,
    ord("1"): _drop_marked,
    ord("2"): _push(lambda machine: machine.stack[-1]),
    ord("N"): _push(lambda machine: None),
    0x88: _push(lambda machine: True),
    0x89: _push(lambda machine: False),
    ord("I"): _push(_int_line),
    ord("L"): _push(_on_line),
    ord("J"): _push(_signed(4)),
    ord("K"): _push(_numbered(1)),
    ord("M"): _push(_numbered(2)),
    0x8A: _push(_counted_number(1)),
    0x8B: _push(_counted_number(4)),
    ord("F"): _push(lambda machine: float(machine.line())),
    ord("G"): _push(lambda machine: _FLOAT.unpack(machine.take(8))[0]),
    ord("S"): _push(_quoted),
    ord("T"): _push(_latin(4)),
    ord("U"): _push(_latin(1)),
    ord("V"): _push(lambda machine: machine.line().decode("raw-unicode-escape")),
    ord("X"): _push(_utf8(4)),
    0x8C: _push(_utf8(1)),
    0x8D: _push(_utf8(8)),
    ord("B"): _push(_raw(4)),
    ord("C"): _push(_raw(1)),
    0x8E: _push(_raw(8)),
    ord("]"): _push(lambda machine: []),
    ord("}"): _push(lambda machine: {}),
    ord(")"): _push(lambda machine: ()),
    0x8F: _push(lambda machine: set()),
    ord("l"): _push(lambda machine: machine.above_mark()),
    ord("t"): _push(lambda machine: tuple(machine.above_mark())),
    ord("d"): _push(lambda machine: _pairs(machine.above_mark())),
    0x91: _push(lambda machine: frozenset(_keys(machine.above_mark()))),
    0x85: _push(lambda machine: _last(machine, 1)),
    0x86: _push(lambda machine: _last(machine, 2)),
    0x87: _push(lambda machine: _last(machine, 3)),
    ord("a"): _append,
    ord("e"): _extend,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x90: _add_items,
    ord("p"): _put(_on_line),
    ord("q"): _put(_numbered(1)),
    ord("r"): _put(_numbered(4)),
    0x94: _put(lambda machine: len(machine.memo)),
    ord("g"): _get(_on_line),
    ord("h"): _get(_numbered(1)),
    ord("j"): _get(_numbered(4)),
}
"""What each instruction does; an instruction that is not here is refused."""
