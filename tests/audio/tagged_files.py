"""Audio files with tags, made byte by byte around samples that another library writes."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image

RATE = 44_100
TEXTS = {
    "title": "Café 東京",
    "artist": "Zoë",
    "album": "Demos",
    "date": "2021",
    "comment": "first take",
    "genre": "Jazz",
}
VORBIS_NAMES = {"comment": "DESCRIPTION"}
ID3_FRAMES = {"title": "TIT2", "artist": "TPE1", "album": "TALB", "date": "TYER", "genre": "TCON"}
Samples = npt.NDArray[np.int16]


def image(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(buffer, format)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def chunks_of(wav: bytes) -> list[tuple[bytes, bytes]]:
    """Name and content of each chunk of a WAV file, whose sizes have to be right."""
    assert (wav[:4], wav[8:12]) == (b"RIFF", b"WAVE")
    assert len(wav) == 8 + struct.unpack("<I", wav[4:8])[0]
    found, at = [], 12
    while at < len(wav):
        name, size = struct.unpack("<4sI", wav[at : at + 8])
        assert at + 8 + size <= len(wav)
        found.append((name, wav[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    assert at == len(wav)
    return found


def info(title: bytes) -> bytes:
    return chunk(b"LIST", b"INFO" + chunk(b"INAM", title + b"\0") + chunk(b"ICRD", b"2021\0"))


def bext(description: bytes) -> bytes:
    """A bext chunk (EBU Tech 3285, version 1), whose coding history has an odd length."""
    fixed = description.ljust(256, b"\0") + b"Field recorder".ljust(32, b"\0") + bytes(32)
    fixed += b"2021-03-0412:30:00" + struct.pack("<QH", 48_000, 1) + bytes(64 + 190)
    return chunk(b"bext", fixed + b"A=PCM,F=44100\r\n")


def wav(samples: Samples, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A WAV file with further chunks before and after its samples."""
    format = struct.pack(
        "<HHIIHH", 1, len(samples), RATE, RATE * 2 * len(samples), 2 * len(samples), 16
    )
    body = b"WAVE" + chunk(b"fmt ", format) + before
    body += chunk(b"data", samples.T.astype("<i2").tobytes()) + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write_tagged(path: Path, samples: Samples, cover: bytes) -> Path:
    """A flac or mp3 with all texts and a cover."""
    if path.suffix == ".flac":
        soundfile.write(path, samples.T, RATE, subtype="PCM_16")
        path.write_bytes(_tagged_flac(path.read_bytes(), cover))
    else:
        soundfile.write(path, samples.T, RATE, format="MP3")
        path.write_bytes(_id3(cover) + path.read_bytes())
    return path


def _tagged_flac(flac: bytes, cover: bytes) -> bytes:
    """A FLAC file with a comment block and a picture block after its stream info (RFC 9639)."""
    comments = [f"{VORBIS_NAMES.get(name, name.upper())}={text}" for name, text in TEXTS.items()]
    comments += ["REPLAYGAIN_TRACK_GAIN=-7.0 dB"]
    vendor = b"by hand"
    block = struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(comments))
    for comment in comments:
        block += struct.pack("<I", len(comment.encode())) + comment.encode()
    media_type = b"image/png"
    picture = struct.pack(">II", 3, len(media_type)) + media_type
    picture += struct.pack(">IIIIII", 0, 40, 30, 24, 0, len(cover)) + cover
    rest = flac[42:]
    while not rest.startswith((b"\xff\xf8", b"\xff\xf9")):  # other metadata
        rest = rest[4 + int.from_bytes(rest[1:4], "big") :]
    head = flac[:4] + b"\0" + flac[5:42]
    blocks = b"\4" + len(block).to_bytes(3, "big") + block
    return head + blocks + b"\x86" + len(picture).to_bytes(3, "big") + picture + rest


def _id3(cover: bytes) -> bytes:
    """An ID3v2.3 tag (texts in UTF-16, a comment, the length, and a cover in JPEG)."""

    def frame(name: str, content: bytes) -> bytes:
        return name.encode() + struct.pack(">IH", len(content), 0) + content

    frames = b"".join(
        frame(name, b"\1" + TEXTS[key].encode("utf-16")) for key, name in ID3_FRAMES.items()
    )
    frames += frame("COMM", b"\0eng\0" + TEXTS["comment"].encode())
    frames += frame("TLEN", b"\0" + b"1000") + frame("TBPM", b"\0" + b"93")
    frames += frame("APIC", b"\0image/jpeg\0\3\0" + cover)
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frames


def read_by_ffmpeg(path: Path) -> tuple[dict[str, str], list[bytes]]:
    """Texts (with names in lower case) and pictures, as FFmpeg reads them."""
    with av.open(str(path)) as container:
        texts = dict(container.metadata) | dict(container.streams.audio[0].metadata)
        pictures = [
            bytes(packet)
            for stream in container.streams.video
            for packet in container.demux(stream)
            if packet.size
        ]
    return {name.lower(): text for name, text in texts.items()}, pictures
