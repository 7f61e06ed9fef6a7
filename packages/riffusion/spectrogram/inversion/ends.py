"""What frames see beyond the ends of a clip: its mirror image, or, for a loop, its repetition."""

from typing import Protocol

from riffusion.spectrogram.operations import Array, Operations


class Ends(Protocol):
    """A linear extension of waveforms beyond their ends, and its transpose."""

    def extended(self, waveform: Array, left: int, right: int, do: Operations) -> Array:
        """Extend waveforms: `(clips, samples)` → `(clips, left + samples + right)`.

        Both `left` and `right` are less than `samples`.
        """

    def folded(self, extended: Array, left: int, num_samples: int, do: Operations) -> Array:
        """The transpose of `extended`: adds the samples beyond the ends back inside, in place.

        Args:
            extended: `(clips, left + num_samples + right)`, `right` at most `num_samples - 1`. It
                is overwritten.
            left: samples before the clip.
            num_samples: length of the clip.
            do: the operations.

        Returns:
            `(clips, num_samples)`, a view.
        """


class ReflectedEnds:
    """Samples beyond the ends are those inside, reversed. The outermost sample isn't repeated."""

    def extended(self, waveform: Array, left: int, right: int, do: Operations) -> Array:
        before, after = waveform[:, 1 : left + 1], waveform[:, -right - 1 : -1]
        return do.joined([do.reversed(before), waveform, do.reversed(after)], 1)

    def folded(self, extended: Array, left: int, num_samples: int, do: Operations) -> Array:
        out = extended[:, left : left + num_samples]
        out[:, 1 : left + 1] += do.reversed(extended[:, :left])
        right = extended.shape[1] - left - num_samples
        if right > 0:
            out[:, -right - 1 : -1] += do.reversed(extended[:, left + num_samples :])
        return out


class JoinedEnds:
    """The clip is a loop: before its start is its end, and after its end its start."""

    def extended(self, waveform: Array, left: int, right: int, do: Operations) -> Array:
        num_samples = waveform.shape[1]
        return do.joined([waveform[:, num_samples - left :], waveform, waveform[:, :right]], 1)

    def folded(self, extended: Array, left: int, num_samples: int, do: Operations) -> Array:
        out = extended[:, left : left + num_samples]
        out[:, num_samples - left :] += extended[:, :left]
        out[:, : extended.shape[1] - left - num_samples] += extended[:, left + num_samples :]
        return out
