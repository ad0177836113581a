"""Mutations: bytes that were good, made bad."""

import random

_EDGES = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff" * 8, b"NaN", b"-1")


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes after one to six changes: bits turned, pieces cut, doubled or overwritten."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        chance.choice((_turn, _cut, _double, _overwrite, _insert))(found, chance)
    return bytes(found)


def _turn(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _cut(data: bytearray, chance: random.Random) -> None:
    start, stop = _piece(data, chance)
    del data[start:stop]


def _double(data: bytearray, chance: random.Random) -> None:
    start, stop = _piece(data, chance)
    place = chance.randint(0, len(data))
    data[place:place] = data[start:stop]


def _overwrite(data: bytearray, chance: random.Random) -> None:
    start, stop = _piece(data, chance)
    data[start:stop] = chance.randbytes(stop - start)


def _insert(data: bytearray, chance: random.Random) -> None:
    place = chance.randint(0, len(data))
    data[place:place] = chance.choice(_EDGES)


def _piece(data: bytearray, chance: random.Random) -> tuple[int, int]:
    """A piece of at most 64 bytes."""
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.randint(0, 64))
