"""Which containers are opened: those that people have, and no demuxer besides."""

import numpy as np
import pytest

from riffusion.audio import decode_audio, waveform_from_segment
from riffusion.errors import MediaError
from tests.audio.tones_in_containers import OPENED, REFUSED, TONE_HZ, tone_in


@pytest.mark.parametrize(("container", "codec"), OPENED)
def test_containers_that_people_have_are_opened(container: str, codec: str) -> None:
    segment = decode_audio(tone_in(container, codec))
    waveform = waveform_from_segment(segment)[0]
    assert abs(len(waveform) / segment.frame_rate - 1) < 0.1  # lossy codecs may add padding
    middle = waveform[segment.frame_rate // 4 :][: segment.frame_rate // 2]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * 2 == pytest.approx(TONE_HZ, abs=2)
    assert np.abs(middle).max() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(("container", "codec"), REFUSED)
def test_other_demuxers_do_not_see_the_bytes(container: str, codec: str) -> None:
    with pytest.raises(MediaError, match="not a readable audio file"):
        decode_audio(tone_in(container, codec))
