"""Ogg files of several streams: one after the other, or at the same time."""

import io
import itertools

import numpy as np
import pytest
import soundfile

from riffusion.audio import decode_audio, waveform_from_segment
from riffusion.errors import MediaError
from tests.audio.audio_signals import sine
from tests.audio.hand_made_files import NUM_SAMPLES, tones


def ogg(subtype: str, count: int, rate: int, scale: float = 1.0) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tones(count, rate).T * scale, rate, format="OGG", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("num_links", [2, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_all_links_of_a_chain_are_joined(subtype, num_links, count):
    link = ogg(subtype, count, 48_000)
    whole = decode_audio(link * num_links)
    assert whole.raw_data == decode_audio(link).raw_data * num_links
    limit = num_links * NUM_SAMPLES / 48_000
    assert decode_audio(link * num_links, max_duration_s=limit)
    with pytest.raises(MediaError, match="longer than"):
        decode_audio(link * num_links, max_duration_s=limit - 0.1)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("counts", [(1, 2), (2, 1), (2, 2, 1)])
def test_chains_that_change_their_channels_are_refused(subtype, counts):
    file = b"".join(ogg(subtype, count, 48_000) for count in counts)
    with pytest.raises(MediaError, match="changes from.*channels midway; convert it"):
        decode_audio(file)


def test_chains_that_change_their_rate_are_refused():
    with pytest.raises(MediaError, match="changes from 44100 Hz.*22050 Hz"):
        decode_audio(ogg("VORBIS", 1, 44_100) + ogg("VORBIS", 1, 22_050))


@pytest.mark.parametrize("damage", [b"damage", b"damage" * 20_000])
def test_damage_between_the_links_keeps_both(damage):
    link = ogg("VORBIS", 1, 44_100)
    whole = decode_audio(link + damage + link)
    assert whole.raw_data == decode_audio(link).raw_data * 2
    assert decode_audio(link + damage).raw_data == decode_audio(link).raw_data


def test_links_of_different_codecs_and_lengths_are_joined():
    links = [ogg("VORBIS", 1, 48_000), ogg("OPUS", 1, 48_000, 0.5), ogg("VORBIS", 1, 48_000, 0.2)]
    parts = [waveform_from_segment(decode_audio(link)) for link in links]
    whole = waveform_from_segment(decode_audio(b"".join(links)))
    assert np.array_equal(whole, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("lengths", [(1, 20_000), (20_000, 1), (5_000, 5_777, 64), (4_096, 8_192)])
def test_links_of_any_length_keep_all_samples(lengths):
    whole = sine(880, 0.3, 1.0, 44_100)
    links = []
    for length in lengths:
        buffer = io.BytesIO()
        soundfile.write(buffer, whole[0, :length], 44_100, format="OGG", subtype="VORBIS")
        links.append(buffer.getvalue())
    decoded = waveform_from_segment(decode_audio(b"".join(links)))
    assert decoded.shape == (1, sum(lengths))


def pages(file: bytes) -> list[bytes]:
    found, start = [], 0
    while start < len(file):
        num_segments = file[start + 26]
        end = start + 27 + num_segments + sum(file[start + 27 : start + 27 + num_segments])
        found.append(file[start:end])
        start = end
    return found


@pytest.mark.parametrize("num_links", [1, 2])
def test_of_streams_at_the_same_time_the_first_is_read(num_links):
    first, second = ogg("VORBIS", 1, 44_100), ogg("VORBIS", 2, 22_050, 0.1)
    mixed = itertools.zip_longest(pages(first), pages(second), fillvalue=b"")
    file = b"".join(itertools.chain.from_iterable(mixed))
    decoded = decode_audio(file * num_links)
    assert decoded.raw_data == decode_audio(first).raw_data * num_links
