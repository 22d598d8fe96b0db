"""MariaDB's uuid, inet4 and inet6, stored as bytes in their natural order, as the server prints them."""

from __future__ import annotations


def spell_uuid(data: bytes) -> str:
    """Sixteen bytes as a uuid, in lower case."""
    text = data.hex()
    if len(text) != 32:
        raise ValueError("not a uuid")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def spell_inet4(data: bytes) -> str:
    """Four bytes as an IPv4 address."""
    if len(data) != 4:
        raise ValueError("not an inet4")
    return ".".join(map(str, data))


def spell_inet6(data: bytes) -> str:
    """Sixteen bytes as an IPv6 address: the first longest run of zeros is left out, the last four bytes of an
    IPv4 address mapped or compatible are printed as one."""
    if len(data) != 16:
        raise ValueError("not an inet6")
    words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, 16, 2)]
    begin, length = _zeros(words)
    tail: list[str] = []
    if begin == 0 and (length == 6 or (length == 5 and words[5] == 0xFFFF)):
        tail, words = [spell_inet4(data[12:])], words[:6]
    if not length:
        return ":".join([f"{word:x}" for word in words] + tail)
    left = ":".join(f"{word:x}" for word in words[:begin])
    right = ":".join([f"{word:x}" for word in words[begin + length :]] + tail)
    return f"{left}::{right}"


def _zeros(words: list[int]) -> tuple[int, int]:
    """Where the first longest run of zeros begins, be it of one, and how many they are."""
    best, at = (0, 0), 0
    while at < len(words):
        end = at
        while end < len(words) and not words[end]:
            end += 1
        if end - at > best[1]:
            best = at, end - at
        at = end + 1
    return best
