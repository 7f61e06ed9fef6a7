"""Audio: reading and writing files, loudness, resampling, and joining clips.

Code inside works on `Audio`, a float32 waveform with its sample rate. Reading returns pydub's
AudioSegment, as upstream does; writing accepts both. One line per module:

- `waveform`: Audio and Waveform; resampling, mixing to mono and stereo.
- `polyphase`: resampling by a rational ratio.
- `pcm`: integer samples, and rounding waveforms to them.
- `segments`: pydub's AudioSegment, and its conversions.
- `speakers`: which side of a stereo mix each speaker of a layout is heard on.
- `raw_samples`: uncompressed samples that FFmpeg reads wrongly or not at all.
- `wav_samples`, `caf_samples`, `aiff_au_samples`, `mov_samples`: where such samples are in a file.
- `source_view`: a file as if it began later, ended earlier, or had other bytes at some places.
- `ogg_chain`: the links of a chained Ogg file.
- `frames`: an audio stream's frames, as FFmpeg decodes them.
- `blocks`: collects decoded samples, within the limits.
- `decoded_integers`: decoded samples of any type → int16 or int32.
- `streams`: bytes or a file → samples in memory or in a file.
- `decoding`: bytes or a file → AudioSegment.
- `recording`: bytes or a file → a recording of any length, in a temporary file.
- `sample_file`: samples in a temporary file.
- `decoding_pool`: the same in processes of their own, for files from strangers.
- `decoding_worker`: such a process.
- `encoding`: audio → the bytes of a file.
- `writer`: appends audio to a file while it is being made.
- `encoder`: FFmpeg's encoder and muxer, used by encoding and writer.
- `formats`: the file formats that can be written.
- `mp3_padding`: the LAME tag that makes an mp3 gapless.
- `loudness_meter`: the integrated loudness of ITU-R BS.1770.
- `loudness`: loudness, true peak, and normalising to -14 LUFS.
- `convolution`: convolutions by FFT.
- `filtering`: a band of frequencies of audio of any length.
- `effects`: crossfade, stitch, take over, loop, fade, overlay.
- `sampling`: cutting clips out of a recording.
- `spectrum`: the spectrum of a segment, for upstream's scripts.
- `upstream`: upstream's helper functions.
"""

from riffusion.audio.decoding import decode_audio, read_audio
from riffusion.audio.effects import crossfade, fade, join_loops, loop, overlay, stitch, take_over
from riffusion.audio.encoding import encode_audio, write_audio
from riffusion.audio.formats import MEDIA_TYPES, AudioFileFormat, check_format, format_from_path
from riffusion.audio.loudness import (
    TARGET_LUFS,
    TRUE_PEAK_DBTP,
    measure_loudness,
    normalize_waveform,
    true_peak_db,
)
from riffusion.audio.recording import Recording
from riffusion.audio.segments import (
    AudioSegment,
    audio_from_segment,
    convert,
    num_samples,
    segment_from_audio,
    segment_from_waveform,
    waveform_from_segment,
)
from riffusion.audio.waveform import Audio, Waveform, resample, with_channels
from riffusion.audio.writer import AudioWriter

__all__ = [
    "MEDIA_TYPES",
    "TARGET_LUFS",
    "TRUE_PEAK_DBTP",
    "Audio",
    "AudioFileFormat",
    "AudioSegment",
    "AudioWriter",
    "Recording",
    "Waveform",
    "audio_from_segment",
    "check_format",
    "convert",
    "crossfade",
    "decode_audio",
    "encode_audio",
    "fade",
    "format_from_path",
    "join_loops",
    "loop",
    "measure_loudness",
    "normalize_waveform",
    "num_samples",
    "overlay",
    "read_audio",
    "resample",
    "segment_from_audio",
    "segment_from_waveform",
    "stitch",
    "take_over",
    "true_peak_db",
    "waveform_from_segment",
    "with_channels",
    "write_audio",
]
