"""What coded H.264 and HEVC say about themselves without being decoded: safe starts and pictures nobody refers to."""

from __future__ import annotations

from collections.abc import Iterator

import av

_H264_IDR, _H264_SPS = 5, 7
_HEVC_IDR = (19, 20)
_HEVC_SPS = 33
_INTRA_ONLY = frozenset({"mjpeg", "prores", "dnxhd", "rawvideo", "png", "jpeg2000", "cfhd", "v210", "huffyuv"})
_H264_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class AccessUnits:
    """Judges the packets of one stream. Whatever it does not know for certain it denies."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec = codec
        self._length_size = _nal_length_size(codec, extradata or b"")
        self._saw_parameters = False
        self._can_skip = codec in ("h264", "hevc")
        if codec in ("h264", "hevc") and extradata:
            self._read_parameters(_parameter_sets(codec, extradata))

    @property
    def can_skip_unreferenced(self) -> bool:
        """Whether the decoder may leave out unreferenced pictures without any effect on the others.

        H.264: `nal_ref_idc` 0 says so, if a packet is a whole frame (no field coding). HEVC: a sub-layer
        non-reference picture may still serve higher temporal layers, so there must be one layer only.
        """
        return self._can_skip and self._saw_parameters

    @property
    def has_clean_starts(self) -> bool:
        """Whether `is_clean_start` can ever say yes."""
        return self._codec in ("h264", "hevc", "vp9", "av1") or self._codec in _INTRA_ONLY

    def is_clean_start(self, packet: av.Packet) -> bool:
        """Whether nothing from this packet on refers to anything before it, in decoding order.

        An open GOP's key frame is none: the pictures that follow it in the file may refer to what came before.
        Reads parameter sets on the way, as they change at such places.
        """
        if self._codec in _INTRA_ONLY:
            return True
        if not packet.is_keyframe:
            return False
        if self._codec == "vp9":
            # frame_marker 0b10, profile below 3, show_existing_frame 0, frame_type 0 (key).
            first = memoryview(packet)[0]
            return first & 0xC0 == 0x80 and first & 0x30 != 0x30 and first & 0x0C == 0
        if self._codec == "av1":
            return _starts_with_shown_av1_key_frame(bytes(packet))
        return self._codec in ("h264", "hevc") and self._inspect(packet)

    def _inspect(self, packet: av.Packet) -> bool:
        units = list(nal_units(bytes(packet), self._length_size))
        self._read_parameters(units)
        if self._codec == "h264":
            return any(unit[0] & 31 == _H264_IDR for unit in units)
        return any(unit[0] >> 1 & 63 in _HEVC_IDR for unit in units)

    def _read_parameters(self, units: Iterator[bytes] | list[bytes]) -> None:
        for unit in units:
            if self._codec == "h264" and unit[0] & 31 == _H264_SPS:
                self._saw_parameters = True
                self._can_skip = self._can_skip and _codes_whole_frames(unit)
            elif self._codec == "hevc" and unit[0] >> 1 & 63 == _HEVC_SPS and len(unit) > 2:
                self._saw_parameters = True
                self._can_skip = self._can_skip and unit[2] >> 1 & 7 == 0  # sps_max_sub_layers_minus1


def nal_units(data: bytes, length_size: int) -> Iterator[bytes]:
    """The NAL units of a packet, each cut to its first 256 bytes; `length_size` 0 means start codes (Annex B)."""
    if length_size:
        at = 0
        while at + length_size < len(data):
            size = int.from_bytes(data[at : at + length_size], "big")
            at += length_size
            if size and at < len(data):
                yield data[at : at + min(size, 256)]
            at += size
        return
    at = data.find(b"\0\0\1")
    while at >= 0 and at + 3 < len(data):
        following = data.find(b"\0\0\1", at + 3)
        end = following if following >= 0 else len(data)
        yield data[at + 3 : min(end, at + 3 + 256)]
        at = following


def _nal_length_size(codec: str, extradata: bytes) -> int:
    if codec == "h264" and len(extradata) > 6 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) > 22 and extradata[0] == 1:
        return (extradata[21] & 3) + 1
    return 0


def _parameter_sets(codec: str, extradata: bytes) -> Iterator[bytes]:
    """Parameter sets out of an avcC or hvcC record (ISO/IEC 14496-15), or of plain Annex B."""
    if not _nal_length_size(codec, extradata):
        yield from nal_units(extradata, 0)
    elif codec == "h264":
        yield from _sized_units(extradata, 6, extradata[5] & 31)[0]
    else:
        at = 23
        for _ in range(extradata[22]):
            count = int.from_bytes(extradata[at + 1 : at + 3], "big")
            units, at = _sized_units(extradata, at + 3, count)
            yield from units


def _sized_units(data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    units = []
    for _ in range(count):
        size = int.from_bytes(data[at : at + 2], "big")
        if size and at + 2 < len(data):
            units.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return units, at


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & ((1 << count) - 1)

    def read_unsigned(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def read_signed(self) -> int:
        value = self.read_unsigned()
        return (value + 1) // 2 if value % 2 else -(value // 2)


def _codes_whole_frames(unit: bytes) -> bool:
    """`frame_mbs_only_flag` of an H.264 sequence parameter set (ITU-T H.264, 7.3.2.1.1); False if unreadable."""
    try:
        bits = _Bits(unit[1:].replace(b"\0\0\3", b"\0\0"))
        profile = bits.read(8)
        bits.read(16)
        bits.read_unsigned()  # seq_parameter_set_id
        if profile in _H264_HIGH_PROFILES:
            _skip_high_profile_fields(bits)
        bits.read_unsigned()  # log2_max_frame_num_minus4
        order_count_type = bits.read_unsigned()
        if order_count_type == 0:
            bits.read_unsigned()
        elif order_count_type == 1:
            bits.read(1)
            bits.read_signed()
            bits.read_signed()
            for _ in range(bits.read_unsigned()):
                bits.read_signed()
        bits.read_unsigned()  # max_num_ref_frames
        gaps_allowed = bits.read(1)
        bits.read_unsigned()
        bits.read_unsigned()
        return bits.read(1) == 1 and not gaps_allowed
    except EOFError:
        return False


def _skip_high_profile_fields(bits: _Bits) -> None:
    chroma_format = bits.read_unsigned()
    if chroma_format == 3:
        bits.read(1)
    bits.read_unsigned()
    bits.read_unsigned()
    bits.read(1)
    if not bits.read(1):
        return
    for index in range(12 if chroma_format == 3 else 8):
        if not bits.read(1):
            continue
        last = following = 8
        for _ in range(16 if index < 6 else 64):
            if following:
                following = (last + bits.read_signed()) % 256
            last = following or last


def _starts_with_shown_av1_key_frame(data: bytes) -> bool:
    """Whether the first frame header is a key frame's that is shown, which resets all references (AV1, 5.3, 5.9.2)."""
    at = 0
    while at + 1 < len(data):
        kind, has_extension, has_size = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + has_extension
        size = len(data) - at
        if has_size:
            size = shift = 0
            while at < len(data):
                size |= (data[at] & 127) << shift
                shift += 7
                at += 1
                if not data[at - 1] & 128:
                    break
        if kind in (3, 6) and at < len(data):
            # show_existing_frame 0, frame_type 00 (key), show_frame 1.
            return data[at] & 0xF0 == 0x10
        at += size
    return False
