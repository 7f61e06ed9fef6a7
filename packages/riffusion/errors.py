"""Every exception that Riffusion raises on purpose.

    RiffusionError
    ├── InputError (ValueError)        a value from outside breaks a rule; `field` names it
    │   ├── MediaError                 bytes that are not the expected image or audio
    │   ├── StorageError               a file or folder has no room, or can't be written
    │   └── SpectrogramParamsError     spectrogram parameters that contradict each other
    │       └── RecordedParamsError        parameters in an image, a data set or a checkpoint
    │           └── MissingExifError (KeyError)    an image without spectrogram parameters
    ├── GenerationCancelled            the client cancelled the clip, or disconnected
    │   └── DeadlineExceededError      the clip was not done by the request's deadline
    ├── GenerationError                the model failed on a clip, for example: not finite
    │   └── ClipMemoryError            memory ran out for a clip that is longer than usual
    ├── DeviceError                    the GPU that is required can't be used
    ├── CheckpointError                weights that are missing, truncated or foreign
    ├── TrainingError                  a training run cannot continue; its last good state is kept
    ├── OverloadedError                the maximum number of requests is waiting
    ├── StorageFullError               the server has no room for temporary files
    ├── TooManyRequestsError           one client exceeds its limit
    ├── ServerError                    the local inference server did not start, or died
    └── EndpointError                  an endpoint could not be reached, or answered with an error

Messages name the value, the rule and the remedy:
`sample_rate=0 must be at least 1 Hz; 44100 is the usual rate`.
Only the Truss adapter, the gateway and the command line translate these exceptions.
"""

from typing import ClassVar

_MAX_SHOWN_CHARACTERS = 60


def shortened(text: str) -> str:
    """The beginning of a value's text, for messages, which may not repeat what a request fills."""
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return text
    return f"{text[:_MAX_SHOWN_CHARACTERS]}…"


class RiffusionError(Exception):
    """Base class of every exception that Riffusion raises on purpose."""


class InputError(RiffusionError, ValueError):
    """A value from outside breaks a rule.

    Args:
        message: what is wrong, what is allowed, and the remedy.
        field: the request field (`start.seed`) or option that holds the value, or None.

    Attributes:
        names_arguments: whether names in the message, such as `width=0`, are arguments of the
            function that raised it. The command line shows its options in their place.
    """

    names_arguments: ClassVar[bool] = True

    def __init__(self, message: str, field: str | None = None) -> None:
        self.field = field
        super().__init__(f"{field}: {message}" if field else message)


class MediaError(InputError):
    """Bytes that are not the expected image or audio, or exceed a limit."""


class StorageError(InputError):
    """A file can't be written, for example because the disk is full."""


class SpectrogramParamsError(InputError):
    """Spectrogram parameters that are out of range or contradict each other."""


class RecordedParamsError(SpectrogramParamsError):
    """Spectrogram parameters that an image, a data set or a checkpoint holds are not usable."""

    names_arguments = False


class MissingExifError(RecordedParamsError, KeyError):
    """An image carries no spectrogram parameters in its EXIF."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote the message


class GenerationCancelled(RiffusionError):  # noqa: N818 - not an error, like asyncio.CancelledError
    """The clip was cancelled: by its caller, or because the client disconnected."""


class DeadlineExceededError(GenerationCancelled):
    """The clip was not done by the request's deadline."""


class GenerationError(RiffusionError):
    """The model failed on one clip; others are not affected."""


class ClipMemoryError(GenerationError):
    """Memory ran out for a clip that is longer than usual; shorter ones are not affected."""


class DeviceError(RiffusionError):
    """The GPU that is required can't be used."""


class CheckpointError(RiffusionError):
    """A checkpoint is missing, truncated or foreign."""


class TrainingError(RiffusionError):
    """A training run cannot continue. Its last good state is kept."""


class OverloadedError(RiffusionError):
    """The maximum number of requests is waiting.

    Args:
        num_waiting: number of waiting requests.
        retry_after_s: whole seconds after which a slot is likely to be free.
    """

    def __init__(self, num_waiting: int, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(
            f"{num_waiting} requests are waiting, which is the maximum; "
            f"try again in {retry_after_s} s"
        )


class StorageFullError(RiffusionError):
    """The server has no room for temporary files, whatever the request is.

    Attributes:
        retry_after_s: whole seconds after which to try again.
    """

    retry_after_s = 30

    def __init__(self) -> None:
        super().__init__(
            "the server has no room for temporary files; its log names the folder; try again in "
            f"{self.retry_after_s} s"
        )


class TooManyRequestsError(RiffusionError):
    """One client exceeds its limit.

    Args:
        limit: the limit in words, such as `6 requests at once`.
        retry_after_s: whole seconds after which to try again.
    """

    def __init__(self, limit: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(
            f"too many requests from this address: at most {limit} are allowed; "
            f"try again in {retry_after_s} s"
        )


class ServerError(RiffusionError):
    """The local inference server did not start, or died."""


class EndpointError(RiffusionError):
    """An endpoint could not be reached, or answered with an error.

    Args:
        message: what happened, and the remedy.
        status: the HTTP status of the answer, or None if there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)
