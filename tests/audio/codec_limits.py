"""How exact a codec's round trip is, and segments to encode."""

from riffusion.audio import segment_from_waveform

SNR_DB = {"wav": 75.0, "flac": 75.0, "mp3": 20.0, "ogg": 18.0, "m4a": 20.0}
"""Lowest signal-to-noise ratio of a chord at half scale after a round trip: rounding to 16 bits is
at -101 dB of full scale, the chord at -15; lossy codecs hide noise under the partials."""


def segment_of(waveform, sample_rate, **options):
    return segment_from_waveform(waveform, sample_rate, **options)
