"""Whether a packet holds a picture that is shown. Recordings that were cut off end in empty packets, and VP8 writes hidden pictures.

A file's index counts such packets all the same. Where one is found, frames are counted by decoding, not by the index.
"""

from __future__ import annotations

from collections.abc import Callable

_LARGEST_PLACEHOLDER = 19  # bytes; MPEG-4's packed B-frames are followed by packets of that size or less, which hold nothing


def picture_test(codec: str, extradata: bytes | None) -> Callable[[memoryview], bool]:
    """A test of a stream's packets. `extradata` holds the settings of its decoder, which tell how H.264 and HEVC are packed."""
    settings = extradata or b""
    packed = settings[:1] == b"\x01"
    if codec == "h264":
        return _Units(settings[4] if packed and len(settings) > 4 else None, lambda head: 1 <= head & 0x1F <= 5).any
    if codec == "hevc":
        return _Units(settings[21] if packed and len(settings) > 21 else None, lambda head: head >> 1 & 0x3F < 32).any
    return _TESTS.get(codec, lambda packet: len(packet) > 0)


_TESTS: dict[str, Callable[[memoryview], bool]] = {
    "vp8": lambda packet: len(packet) > 0 and bool(packet[0] & 0x10),  # show_frame (RFC 6386, 9.1)
    "mpeg4": lambda packet: len(packet) > _LARGEST_PLACEHOLDER,
}


class _Units:
    """NAL units of a packet: behind their lengths (ISO/IEC 14496-15), whose size the settings tell, or behind start codes (Annex B)."""

    def __init__(self, length_byte: int | None, is_slice: Callable[[int], bool]):
        self._length_size = None if length_byte is None else (length_byte & 3) + 1
        self._is_slice = is_slice

    def any(self, packet: memoryview) -> bool:
        """Whether one of the units is a slice of a picture, or the units do not fit into the packet, so that its damage shows."""
        return self._behind_codes(bytes(packet)) if self._length_size is None else self._behind_lengths(packet, self._length_size)

    def _behind_lengths(self, packet: memoryview, size: int) -> bool:
        at = 0
        while at + size < len(packet):
            if self._is_slice(packet[at + size]):
                return True
            at += size + int.from_bytes(packet[at : at + size], "big")
        return at != len(packet)

    def _behind_codes(self, packet: bytes) -> bool:
        at = packet.find(b"\0\0\1")
        if at < 0:
            return len(packet) > 0
        while 0 <= at < len(packet) - 3:
            if self._is_slice(packet[at + 3]):
                return True
            at = packet.find(b"\0\0\1", at + 3)
        return False
