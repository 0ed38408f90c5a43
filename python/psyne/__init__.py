"""Zero-copy channels between threads and processes. The README says how they are used."""

import os
import struct
from collections import namedtuple

from ._psyne import (
    Call,
    Client,
    Closed,
    Error,
    Full,
    Lagged,
    Layout,
    LayoutMismatch,
    Listener,
    Loan,
    Message,
    Notifier,
    PeerDied,
    Receiver,
    Refused,
    Sender,
    Server,
    Tensor,
    TimedOut,
    _forked,
)

os.register_at_fork(after_in_child=_forked)

__all__ = [
    "Call",
    "Client",
    "Closed",
    "Error",
    "Full",
    "Lagged",
    "Layout",
    "LayoutMismatch",
    "Listener",
    "Loan",
    "Message",
    "Notifier",
    "PeerDied",
    "Receiver",
    "Refused",
    "Sender",
    "Server",
    "Struct",
    "Tensor",
    "TimedOut",
]

# Rust's name of a number: the letter of `struct`, and NumPy's name.
_NUMBERS = {
    "u8": ("B", "u1"),
    "u16": ("H", "u2"),
    "u32": ("I", "u4"),
    "u64": ("Q", "u8"),
    "i8": ("b", "i1"),
    "i16": ("h", "i2"),
    "i32": ("i", "i4"),
    "i64": ("q", "i8"),
    "f32": ("f", "f4"),
    "f64": ("d", "f8"),
}


class Struct:
    """Plain data with named fields, as it lies in memory.

    A field is a number by Rust's name for it ("u64"), or several: ("f32", 6). There may be no gap
    between fields: order them by size, or name the gap.
    """

    def __init__(self, name, **fields):
        if not fields:
            raise ValueError("a struct has fields")
        parsed = {field: _parse(of) for field, of in fields.items()}
        align = max(struct.calcsize(_NUMBERS[number][0]) for number, _ in parsed.values())
        letters = "".join(
            f"{count or ''}{_NUMBERS[number][0]}" for number, count in parsed.values()
        )
        self._struct = struct.Struct("=" + letters)
        size = self._struct.size
        if struct.calcsize("@" + letters) != size or size % align:
            raise ValueError(f"{name} has gaps: order its fields by size, or name the gap")
        self._counts = [count for _, count in parsed.values()]
        self._fields = parsed
        self._tuple = namedtuple(name, fields)
        layout = Layout(name, size, align)
        for field, (number, count) in parsed.items():
            of = Layout.number(number)
            layout = layout.field(field, of if count is None else Layout.array(of, count))
        self.layout = layout

    @property
    def dtype(self):
        """The same for NumPy."""
        import numpy

        fields = []
        for field, (number, count) in self._fields.items():
            of = "=" + _NUMBERS[number][1]
            fields.append((field, of) if count is None else (field, of, (count,)))
        return numpy.dtype(fields)

    def pack(self, *values, **named):
        """The bytes of a message with these values."""
        row = self._tuple(*values, **named)
        flat = []
        for value, count in zip(row, self._counts):
            if count is None:
                flat.append(value)
            elif len(value) == count:
                flat.extend(value)
            else:
                raise ValueError(f"{len(value)} values where there are {count}")
        return self._struct.pack(*flat)

    def unpack(self, message):
        """A message's values by their names. They are copied out: the message may go."""
        flat = iter(self._struct.unpack(message))
        values = (
            next(flat) if count is None else tuple(next(flat) for _ in range(count))
            for count in self._counts
        )
        return self._tuple(*values)


def _parse(of):
    number, count = (of, None) if isinstance(of, str) else of
    if number not in _NUMBERS:
        raise ValueError(f"{number!r} is no number: {', '.join(_NUMBERS)}")
    return number, count
