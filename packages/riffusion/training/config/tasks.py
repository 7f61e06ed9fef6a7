"""One configuration per task."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from riffusion.training.config.sections import (
    Count,
    DataConfig,
    EncodedSampleConfig,
    FineTuneDataConfig,
    NetworkOptions,
    ObjectiveConfig,
    OptimizerConfig,
    Positive,
    RunConfig,
    SampleConfig,
    Section,
    TimestepConfig,
    UnconditionalSampleConfig,
)


class _Task(Section):
    output: Path
    run: RunConfig
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.optimizer.warmup_steps > self.run.steps:
            raise ValueError(
                f"optimizer.warmup_steps={self.optimizer.warmup_steps} exceeds "
                f"run.steps={self.run.steps}; lower it"
            )
        return self


class _FromScratch(_Task):
    data: DataConfig
    init_from: Path | None = None
    """Checkpoint whose weights the networks start from, where names and shapes agree."""


def _check_uncropped(data: DataConfig) -> None:
    if data.crop_width is not None:
        raise ValueError(
            f"data.crop_width={data.crop_width} cuts pixels, and images are encoded whole into "
            "latents here; leave it out"
        )


class AutoencoderLossConfig(Section):
    """Weights of the VAE's losses. Pixels are in [-1, 1]; L1 has weight 1.

    Args:
        gradient: L1 of differences between neighbouring pixels, which keeps partials and onsets
            sharp.
        kl: of the posterior to a unit Gaussian, a mean over latent elements.
        adversarial: of a discriminator's verdict and features; 0 for none. Sharpens textures, at
            a little more error. It trains beside the VAE with the same learning rate.
    """

    gradient: Annotated[float, Field(ge=0)] = 0.25
    kl: Annotated[float, Field(ge=0)] = 5e-4
    adversarial: Annotated[float, Field(ge=0)] = 0.0


class AutoencoderConfig(_FromScratch):
    """A VAE. `train_decoder_only` leaves the latents as they are, for UNets that know them."""

    task: Literal["autoencoder"]
    autoencoder: NetworkOptions = Field(default_factory=dict)
    loss: AutoencoderLossConfig = AutoencoderLossConfig()
    train_decoder_only: bool = False
    normalize_latents: bool = True
    """Shift and scale channels to zero mean and at most unit deviation before export."""
    sample: SampleConfig = SampleConfig()

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.train_decoder_only and self.init_from is None:
            raise ValueError(
                "train_decoder_only=true keeps the encoder that init_from names; name a checkpoint "
                "there"
            )
        return self


class TextToSpectrogramConfig(_FromScratch):
    """A latent UNet and its text encoder, from scratch."""

    task: Literal["text_to_spectrogram"]
    vae: Path
    unet: NetworkOptions = Field(default_factory=dict)
    text_encoder: NetworkOptions = Field(default_factory=dict)
    vocabulary_size: Annotated[int, Field(ge=520)] = 1024
    objective: ObjectiveConfig = ObjectiveConfig()
    sample: SampleConfig = SampleConfig()

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        _check_uncropped(self.data)
        return self


class _PixelsOrLatents(_FromScratch):
    vae: Path | None = None
    """VAE whose latents are drawn; None draws pixels."""
    channels: Literal[1, 3] | None = None
    """Of pixels: 1 (the default) for mono, 3 for stereo, whose planes differ."""
    unet: NetworkOptions = Field(default_factory=dict)
    objective: ObjectiveConfig = ObjectiveConfig()

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if self.vae is None:
            return self
        if self.channels is not None:
            raise ValueError(
                f"channels={self.channels} is of pixels, and vae={str(self.vae)!r} has channels of "
                "its own; leave one of them out"
            )
        _check_uncropped(self.data)
        return self


class UnconditionalConfig(_PixelsOrLatents):
    """A diffusion model of pixels (Ho et al. 2020) or of latents, without any condition."""

    task: Literal["unconditional"]
    sample: UnconditionalSampleConfig = UnconditionalSampleConfig()

    @model_validator(mode="after")
    def _check_sampler(self) -> Self:
        if self.vae is not None and self.sample.sampler != "ddim":
            raise ValueError(
                f"sample.sampler={self.sample.sampler!r} is for pixels; latents are sampled by "
                "ddim: leave it out, or leave vae out"
            )
        return self


class EncoderConfig(Section):
    """Where a clip's encoding comes from: exactly one of four.

    Args:
        column: of the data set's metadata, a list of numbers.
        file: safetensors with a tensor per image, (width,) or (tokens, width), under the name
            `train/…png` or `validation/…png`.
        clap: folder with a CLAP model in Hugging Face's format, which hears each image once.
        network: keyword arguments of `AudioEncoder`, which learns together with the UNet.
    """

    column: str | None = None
    file: Path | None = None
    clap: Path | None = None
    network: NetworkOptions | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "needs exactly one of column, file, clap and network, not "
                f"{' and '.join(given) or 'none'}"
            )
        return self


class AudioConditionalConfig(_PixelsOrLatents):
    """A diffusion model of pixels or latents that an encoding tells how a clip sounds."""

    task: Literal["audio_conditional"]
    encoder: EncoderConfig
    sample: EncodedSampleConfig = EncodedSampleConfig()


class LoraConfig(Section):
    """Low-rank updates beside frozen weights (Hu et al. 2021): W + alpha / rank · B · A.

    Args:
        rank: rows of A and columns of B.
        alpha: None is `rank`.
        dropout: of what goes into A, while training.
        unet_modules: ends of names of linear and convolutional layers that get an update; None is
            the attention's.
        text_encoder_modules: likewise, with `train_text_encoder`; None is the attention's.
    """

    rank: Count = 16
    alpha: Positive | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    unet_modules: tuple[str, ...] | None = None
    text_encoder_modules: tuple[str, ...] | None = None


class FineTuneConfig(_Task):
    """A Stable Diffusion 1.x checkpoint, taught more.

    What is predicted, and on which noise schedule, is the checkpoint's to say.
    """

    task: Literal["fine_tune"]
    data: FineTuneDataConfig
    checkpoint: str
    """Folder, single file or hub id, as `--checkpoint` takes."""
    train_unet: bool = True
    train_text_encoder: bool = False
    lora: LoraConfig | None = None
    """None trains the networks' weights themselves."""
    new_words: tuple[str, ...] | dict[str, str | None] = ()
    """Words that become tokens of their own, with an embedding that is learned. As a mapping, each
    with a phrase that it means at first; without one it begins as its pieces' mean."""
    objective: TimestepConfig = TimestepConfig()
    sample: SampleConfig = SampleConfig()

    @property
    def first_meanings(self) -> dict[str, str]:
        """New words, in lower case, with what they mean at first."""
        words = self.new_words
        given = words if isinstance(words, dict) else dict.fromkeys(words)
        return {word.lower(): meaning or word for word, meaning in given.items()}

    @model_validator(mode="after")
    def _check_what_is_trained(self) -> Self:
        if not (self.train_unet or self.train_text_encoder or self.new_words):
            raise ValueError(
                "train_unet=false, train_text_encoder=false and no new_words leave nothing to "
                "train; allow one of them"
            )
        _check_uncropped(self.data)
        if any(not word.strip() or word != word.strip() for word in self.first_meanings):
            raise ValueError(
                f"new_words={list(self.first_meanings)} must not be empty or begin or end with a "
                "space"
            )
        if len(self.first_meanings) < len(self.new_words):
            raise ValueError(
                f"new_words={list(self.new_words)} must differ in more than case; name each once"
            )
        self._check_lora()
        return self

    def _check_lora(self) -> None:
        lora = self.lora
        if lora is None:
            return
        if not (self.train_unet or self.train_text_encoder):
            raise ValueError(
                "lora has no network to update, as train_unet=false and train_text_encoder=false; "
                "allow one of them, or leave lora out to train new_words alone"
            )
        for name, is_trained in (
            ("unet", self.train_unet),
            ("text_encoder", self.train_text_encoder),
        ):
            modules = getattr(lora, f"{name}_modules")
            if modules is not None and not is_trained:
                raise ValueError(
                    f"lora.{name}_modules contradicts train_{name}=false; leave one of them out"
                )
            if modules == ():
                raise ValueError(
                    f"lora.{name}_modules=[] updates nothing; set train_{name}=false instead"
                )
