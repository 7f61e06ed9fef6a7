"""One configuration per task; distillation's is in a module of its own."""

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


class Task(Section):
    """What every task has."""

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


class _FromScratch(Task):
    data: DataConfig
    init_from: Path | None = None
    """Checkpoint whose weights the networks start from, where names and shapes match."""


def check_uncropped(data: DataConfig) -> None:
    """Check that a task which encodes whole images has no crop."""
    if data.crop_width is not None:
        raise ValueError(
            f"data.crop_width={data.crop_width} crops pixels, but this task encodes whole images "
            "into latents; leave it out"
        )


class AutoencoderLossConfig(Section):
    """Weights of the autoencoder's losses. Pixels are in [-1, 1]; their L1 error has weight 1.

    Args:
        gradient: weight of the L1 error of differences between neighbouring pixels, which keeps
            partials and onsets sharp.
        kl: weight of the KL divergence of the posterior to a unit Gaussian, averaged over latent
            elements; for AutoencoderKL.
        latent_noise: standard deviation of Gaussian noise that is added to the latents in training,
            relative to that of the latents, so that the decoder tolerates the errors of a diffusion
            model; for deterministic autoencoders.
        latent_norm: weight of the mean square of the latents; for deterministic autoencoders.
        multiscale: weight of the L1 error of images averaged over 2×2, 4×4 and 8×8 pixels, a mean
            over the three. It keeps levels right.
        texture: weight of the L1 error of the standard deviations within windows of 8×8 pixels. It
            keeps noise noisy, which the L1 error of pixels smooths.
        adversarial: weight of the adversarial and feature-matching losses; 0 is off. They sharpen
            textures at the cost of a slightly higher error. The discriminator is trained together
            with the autoencoder, at the same learning rate.
        adversarial_start: share of the run before the discriminator joins.
    """

    gradient: Annotated[float, Field(ge=0)] = 0.25
    kl: Annotated[float, Field(ge=0)] = 5e-4
    latent_noise: Annotated[float, Field(ge=0)] = 0.05
    latent_norm: Annotated[float, Field(ge=0)] = 5e-4
    multiscale: Annotated[float, Field(ge=0)] = 0.0
    texture: Annotated[float, Field(ge=0)] = 0.0
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    adversarial_start: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AutoencoderConfig(_FromScratch):
    """An autoencoder. `train_decoder_only` keeps the latents, so that UNets trained on them stay
    valid.
    """

    task: Literal["autoencoder"]
    autoencoder: NetworkOptions = Field(default_factory=dict)
    """`class_name`, AutoencoderKL by default, and that class's keyword arguments."""
    loss: AutoencoderLossConfig = AutoencoderLossConfig()
    train_decoder_only: bool = False
    normalize_latents: bool = True
    """Before export, shift and scale the latents' channels to zero mean and at most unit deviation;
    for deterministic autoencoders, set `scaling_factor` to 1 / deviation of the latents."""
    sample: SampleConfig = SampleConfig()

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.train_decoder_only and self.init_from is None:
            raise ValueError(
                "train_decoder_only=true keeps the encoder of init_from; name a checkpoint there"
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
        check_uncropped(self.data)
        return self


class _PixelsOrLatents(_FromScratch):
    vae: Path | None = None
    """VAE whose latents are generated; None for pixels."""
    channels: Literal[1, 3] | None = None
    """Channels of pixels: 1 (the default) for mono, 3 for stereo, whose channels differ."""
    unet: NetworkOptions = Field(default_factory=dict)
    objective: ObjectiveConfig = ObjectiveConfig()

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if self.vae is None:
            return self
        if self.channels is not None:
            raise ValueError(
                f"channels={self.channels} applies to pixels, but vae={str(self.vae)!r} determines "
                "the channels of latents; leave one of them out"
            )
        check_uncropped(self.data)
        return self


class UnconditionalConfig(_PixelsOrLatents):
    """An unconditional diffusion model of pixels (Ho et al. 2020) or of latents."""

    task: Literal["unconditional"]
    sample: UnconditionalSampleConfig = UnconditionalSampleConfig()

    @model_validator(mode="after")
    def _check_sampler(self) -> Self:
        if self.vae is not None and self.sample.sampler != "ddim":
            raise ValueError(
                f"sample.sampler={self.sample.sampler!r} is for pixels; latents are sampled with "
                "ddim: leave out sample.sampler or vae"
            )
        return self


class EncoderConfig(Section):
    """Source of the encodings: exactly one of four.

    Args:
        column: column of the data set's metadata that holds a list of numbers.
        file: safetensors file with one tensor per image, (width,) or (tokens, width), named
            `train/…png` or `validation/…png`.
        clap: folder with a CLAP model in Hugging Face's format, which encodes each clip once.
        network: keyword arguments of `AudioEncoder`, which is trained together with the UNet.
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
    """A diffusion model of pixels or latents that is conditioned on encodings of audio."""

    task: Literal["audio_conditional"]
    encoder: EncoderConfig
    sample: EncodedSampleConfig = EncodedSampleConfig()


class LoraConfig(Section):
    """LoRA: low-rank updates beside frozen weights, W + alpha / rank · B · A (Hu et al. 2021).

    Args:
        rank: rows of A and columns of B.
        alpha: scale; None stands for `rank`.
        dropout: dropout of A's input during training.
        unet_modules: the linear and convolutional layers that get LoRA, by the ends of their names;
            None stands for the attention layers.
        text_encoder_modules: the same for the text encoder, with `train_text_encoder`.
    """

    rank: Count = 16
    alpha: Positive | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    unet_modules: tuple[str, ...] | None = None
    text_encoder_modules: tuple[str, ...] | None = None


class FineTuneConfig(Task):
    """Fine-tuning of a Stable Diffusion 1.x checkpoint.

    Prediction type and noise schedule are the checkpoint's.
    """

    task: Literal["fine_tune"]
    data: FineTuneDataConfig
    checkpoint: str
    """Folder, single file or hub id, as for `--checkpoint`."""
    train_unet: bool = True
    train_text_encoder: bool = False
    lora: LoraConfig | None = None
    """None trains the weights of the networks themselves."""
    new_words: tuple[str, ...] | dict[str, str | None] = ()
    """Textual inversion: words that become tokens with learned embeddings. In a mapping, each word
    has a phrase whose mean embedding it starts from; the default is the word's own former tokens.
    """
    objective: TimestepConfig = TimestepConfig()
    sample: SampleConfig = SampleConfig()

    @property
    def initial_phrases(self) -> dict[str, str]:
        """New words, in lower case, with the phrases that their embeddings start from."""
        words = self.new_words
        given = words if isinstance(words, dict) else dict.fromkeys(words)
        return {word.lower(): phrase or word for word, phrase in given.items()}

    @model_validator(mode="after")
    def _check_what_is_trained(self) -> Self:
        if not (self.train_unet or self.train_text_encoder or self.new_words):
            raise ValueError(
                "train_unet=false, train_text_encoder=false and no new_words leave nothing to "
                "train; enable one of them"
            )
        check_uncropped(self.data)
        if any(not word.strip() or word != word.strip() for word in self.initial_phrases):
            raise ValueError(
                f"new_words={list(self.initial_phrases)} must not be empty or begin or end with a "
                "space"
            )
        if len(self.initial_phrases) < len(self.new_words):
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
                "enable one of them, or leave lora out to train only new_words"
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
