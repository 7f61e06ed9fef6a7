"""The LAME tag of an mp3, which tells players how many samples to cut off for gapless playback."""

from riffusion.errors import MediaError

ID3_HEADER_BYTES = 10


def with_exact_padding(mp3: bytes, length: int, rate_hz: int) -> bytes:
    """Correct the padding in an mp3's LAME tag.

    FFmpeg can't record more than one frame of padding beyond the decoder's delay, so clips whose
    last frame holds 1 to 46 samples would decode a little too long. The tag's layout is documented
    at http://gabriel.mp3-tech.org/mp3infotag.html: counted from the encoder's name, byte 21 starts
    12 bits of delay and 12 of padding, and byte 34 a CRC-16 of the 190 bytes from the start of the
    frame up to it.

    Args:
        mp3: the file, or its beginning including the first frame.
        length: number of samples that the file should decode to.
        rate_hz: sample rate, which decides how many samples a frame has.

    Raises:
        MediaError: the mp3 has no LAME tag.
    """
    frame_length = 1152 if rate_hz >= 32000 else 576
    start = id3_length(mp3)
    tag = max(mp3.find(name, start, start + 64) for name in (b"Info", b"Xing"))
    if tag < 0:
        raise MediaError("the mp3 encoder wrote no LAME tag, so the clip would not be gapless")
    data = bytearray(mp3)
    num_frames = int.from_bytes(data[tag + 8 : tag + 12], "big")
    gap = tag + 120 + 21
    delay = int.from_bytes(data[gap : gap + 3], "big") >> 12
    padding = num_frames * frame_length - delay - length
    data[gap : gap + 3] = (delay << 12 | padding).to_bytes(3, "big")
    end = tag + 120 + 34
    data[end : end + 2] = _crc16(data[start:end]).to_bytes(2, "big")
    return bytes(data)


def id3_length(data: bytes) -> int:
    """Length in bytes of the ID3v2 tag at the start of an mp3; its size field is 4 × 7 bits.

    Args:
        data: the mp3, or its first `ID3_HEADER_BYTES`.
    """
    if not data.startswith(b"ID3"):
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte
    return ID3_HEADER_BYTES + size


def _crc16(data: bytes | bytearray) -> int:
    """CRC-16/ARC: polynomial 0x8005, reflected, initial value 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
