"""Lists the audio files of a folder; whatever else is in it is passed over."""

import logging
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from riffusion.errors import InputError
from riffusion.io.folders import linked_files

logger = logging.getLogger(__name__)

_AUDIO = """
.3g2 .3gp .aac .ac3 .adts .aif .aifc .aiff .amr .ape .asf .au .avi .bwf .caf .dff .dsf .dts .eac3
.ec3 .f4a .f4v .flac .flv .m4a .m4b .m4p .m4r .m4v .mka .mkv .mov .mp+ .mp1 .mp2 .mp3 .mp4 .mpa .mpc
.mpeg .mpg .mpga .mpp .oga .ogg .ogv .ogx .opus .rf64 .snd .spx .tak .tta .voc .w64 .wav .wave .weba
.webm .wma .wmv .wv .xwma
"""
_IMAGES = """
.ai .avif .bmp .gif .heic .heif .ico .jfif .jpeg .jpg .pdf .png .psd .svg .tif .tiff .webp
"""
_TEXT = """
.csv .doc .docx .htm .html .json .jsonl .lrc .md .nfo .odt .rtf .srt .tsv .txt .vtt .xls .xlsx .xml
.yaml .yml
"""
_LISTS_AND_CHECKSUMS = """
.accurip .asx .cue .ffp .log .m3u .m3u8 .md5 .par2 .pls .sfv .sha1 .sha256 .st5 .wpl .xspf
"""
_OF_AUDIO_PROGRAMS = """
.aes .als .asd .aup .aup3 .band .cpr .flp .kar .logicx .mid .midi .musicxml .mxl .npr .nki .omf .ovw
.peak .pek .pkf .ptx .reapeaks .rpp .rpp-bak .sesx .sf2 .sf3 .sfk .sfz .syx .wfm
"""
_OF_THE_SYSTEM = """
.7z .bak .bat .cfg .crdownload .db .dll .exe .gz .ini .lnk .part .py .rar .sh .tar .tmp .torrent
.url .zip
"""
_ARRAYS = ".ckpt .npy .npz .pt .pth .safetensors"

AUDIO_SUFFIXES = frozenset(_AUDIO.split())
"""Extensions of audio files, and of videos, whose audio is used. Such a file is always listed, so
that a broken one is reported."""
OTHER_SUFFIXES = frozenset(
    suffix
    for kind in (_IMAGES, _TEXT, _LISTS_AND_CHECKSUMS, _OF_AUDIO_PROGRAMS, _OF_THE_SYSTEM, _ARRAYS)
    for suffix in kind.split()
)
"""Extensions of files that are often found beside audio files. Such files are passed over unless
the pattern ends in their extension."""

_SIGNATURES = re.compile(
    rb"(RIFF|RF64|RIFX|BW64).{4}(WAVE|AVI |XWMA)"
    rb"|FORM.{4}AIF[FC]|\.snd|dns\.|caff|riff\x2e\x91\xcf\x11|fLaC|OggS|ID3|\xff[\xe2-\xfd]|.{4}ftyp"
    rb"|\x1aE\xdf\xa3|0&\xb2u\x8ef\xcf\x11|FLV\x01|#!AMR|MAC |wvpk|MPCK|MP\+|TTA1|tBaK|DSD "
    rb"|Creative Voice File|\x0b\x77|\x7f\xfe\x80\x01|\x00\x00\x01\xba|(.{4})?G.{187}(.{4})?G",
    re.DOTALL,
)
"""First bytes of the formats that `riffusion.audio` reads."""
_NUM_SIGNATURE_BYTES = 197


def list_audio_files(audio_dir: Path, output_dir: Path, glob: str) -> list[Path]:
    """The audio files of a folder, sorted.

    Folders that are linked into the folder are searched, too. These are passed over: hidden files,
    outputs, files with another kind's extension, and files with an unknown extension, or without
    one, that don't begin as audio does. Links that lead nowhere are passed over with a warning.

    Args:
        audio_dir: the folder.
        output_dir: the output folder; if it is inside the input folder, its files are not listed.
        glob: pattern that the files match, relative to `audio_dir`.

    Raises:
        InputError: the folder does not exist, the pattern is malformed, or no file is left.
    """
    if not audio_dir.is_dir():
        what = "is not a folder" if audio_dir.exists() else "does not exist"
        raise InputError(
            f"{str(audio_dir)!r} {what}; name a folder with audio files", field="audio_dir"
        )
    try:
        matching = list(audio_dir.glob(glob))
    except (ValueError, NotImplementedError) as error:
        raise InputError(
            f"{glob!r} is not a valid pattern ({error}); write one like '**/*.mp3'", field="glob"
        ) from None
    _warn_of_broken_links(audio_dir, matching)
    pattern = PurePath(glob).parts
    found = {path for path in matching if path.is_file()}
    found |= {
        path
        for path in linked_files(audio_dir)
        if _matches(path.relative_to(audio_dir).parts, pattern)
    }
    outputs = output_dir.resolve()
    is_apart = outputs != audio_dir.resolve()
    paths = [
        path
        for path in sorted(found)
        if not any(part.startswith(".") for part in path.relative_to(audio_dir).parts)
        and _is_audio(path, glob)
        and not (is_apart and path.resolve().is_relative_to(outputs))
    ]
    if not paths:
        raise InputError(
            f"{str(audio_dir)!r} has no audio file that matches {glob!r}; choose another folder or "
            "pattern",
            field="audio_dir",
        )
    return paths


def _warn_of_broken_links(audio_dir: Path, paths: Iterable[Path]) -> None:
    """Name a link to nothing, or to itself, that could have been audio or a folder with audio."""
    broken = sorted(
        path.relative_to(audio_dir).as_posix()
        for path in paths
        if path.is_symlink()
        and not path.exists()
        and path.suffix.lower() not in OTHER_SUFFIXES
        and not path.name.startswith(".")
    )
    if broken:
        logger.warning(
            "links that lead nowhere are passed over, %d in all, for instance %r; "
            "repair or remove them",
            len(broken),
            broken[0],
        )


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a relative path matches a pattern, in which `**` stands for any number of folders."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return any(_matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts)))
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _is_audio(path: Path, glob: str) -> bool:
    """Whether a file is audio, or is meant to be: by its extension, or else by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in AUDIO_SUFFIXES or (suffix and glob.lower().endswith(suffix)):
        return True
    if suffix in OTHER_SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            start = file.read(_NUM_SIGNATURE_BYTES)
    except OSError:
        return True  # whoever reads it tells why it can't be read
    if not start:  # neither name nor content tells; macOS makes such a file for a folder's icon
        return not suffix and path.name != "Icon\r"
    return _SIGNATURES.match(start) is not None
