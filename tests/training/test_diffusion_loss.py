"""The diffusion loss against the formulas of its papers, and against explicit calculations."""

import numpy as np
import pytest
import torch

from riffusion.errors import InputError
from riffusion.training.config import ObjectiveConfig
from riffusion.training.losses.diffusion import PIXEL_SCHEDULE, DiffusionLoss, noise_schedule

ROUNDING = 1e-5
"""Relative, of single precision over a product of a thousand factors."""
STATISTICAL = 0.02
"""Absolute, of means over 20,000 draws or 65,536 pixels: about 3 of their standard deviations."""
NUM_STEPS = 1000
SHAPE = (64, 2, 3, 4)


def loss_of(prediction: str, **options: object) -> DiffusionLoss:
    return DiffusionLoss(ObjectiveConfig.model_validate({"prediction": prediction, **options}))


def signal_share(kind: str = "scaled_linear") -> np.ndarray:
    """ᾱ of every timestep in double precision: the cumulative product of 1 - β.

    β is linear in Ho et al. 2020; in Stable Diffusion, its square root is.
    """
    if kind == "scaled_linear":
        betas = np.linspace(0.00085**0.5, 0.012**0.5, NUM_STEPS) ** 2
    else:
        betas = np.linspace(1e-4, 0.02, NUM_STEPS)
    return np.cumprod(1 - betas)


def snr(kind: str = "scaled_linear") -> np.ndarray:
    share = signal_share(kind)
    return share / (1 - share)


def noised(
    loss: DiffusionLoss, clean: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(timesteps, noise, noisy) that the loss uses for a seed."""
    found: list[torch.Tensor] = []

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        found.extend((noisy, timesteps))
        return noisy

    loss(clean, torch.Generator().manual_seed(seed), predict)
    noisy, timesteps = found
    share = torch.from_numpy(signal_share())[timesteps].float()[:, None, None, None]
    return timesteps, (noisy - share.sqrt() * clean) / (1 - share).sqrt(), noisy


@pytest.mark.parametrize(("options", "kind"), [({}, "scaled_linear"), (PIXEL_SCHEDULE, "linear")])
def test_the_schedules_are_those_of_the_papers(options: dict[str, object], kind: str) -> None:
    found = noise_schedule(ObjectiveConfig(noise_schedule=options)).alphas_cumprod
    np.testing.assert_allclose(found.numpy(), signal_share(kind), rtol=10 * ROUNDING)


@pytest.mark.parametrize("gamma", [1.0, 5.0, 20.0])
def test_min_snr_weights_are_those_of_hang_et_al(gamma: float) -> None:
    """Hang et al. 2023, section 3.4: the error of x₀ has weight min(SNR, γ); it is the error of ε
    divided by SNR, or that of v divided by SNR + 1.
    """
    timesteps = torch.arange(NUM_STEPS)
    weight_of_clean = np.minimum(snr(), gamma)
    epsilon = loss_of("epsilon", min_snr_gamma=gamma).weights(timesteps).numpy()
    v = loss_of("v_prediction", min_snr_gamma=gamma).weights(timesteps).numpy()
    np.testing.assert_allclose(epsilon, weight_of_clean / snr(), rtol=100 * ROUNDING)
    np.testing.assert_allclose(v, weight_of_clean / (snr() + 1), rtol=100 * ROUNDING)
    assert np.allclose(epsilon[snr() < 0.99 * gamma], 1)
    assert v.max() == pytest.approx(gamma / (gamma + 1), rel=0.02)


def test_without_gamma_all_weights_are_one() -> None:
    weights = loss_of("v_prediction").weights(torch.tensor([0, 500, 999]))
    assert weights.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("gamma", [None, 5.0])
def test_an_error_of_the_image_costs_the_same_for_epsilon_and_v(gamma: float | None) -> None:
    """The same estimate of x₀, expressed as ε or as v: with min-SNR, the losses are equal (Hang et
    al. 2023). Without weights they differ by (SNR + 1) / SNR.
    """
    clean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    error = 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    losses = []
    for prediction in ("epsilon", "v_prediction"):
        loss = loss_of(prediction, min_snr_gamma=gamma)

        def predict(
            noisy: torch.Tensor, timesteps: torch.Tensor, prediction: str = prediction
        ) -> torch.Tensor:
            share = torch.from_numpy(signal_share())[timesteps].float()[:, None, None, None]
            guess = clean + error
            epsilon = (noisy - share.sqrt() * guess) / (1 - share).sqrt()
            if prediction == "epsilon":
                return epsilon
            return share.sqrt() * epsilon - (1 - share).sqrt() * guess

        losses.append(float(loss(clean, torch.Generator().manual_seed(0), predict)))
    are_equal = losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert are_equal == (gamma is not None)


def test_the_target_of_v_leads_back_to_image_and_noise() -> None:
    """Salimans & Ho 2022, appendix D: x₀ = √ᾱ x_t - √(1-ᾱ) v, and ε = √(1-ᾱ) x_t + √ᾱ v."""
    loss = loss_of("v_prediction")
    clean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    timesteps, noise, noisy = noised(loss, clean, seed=0)
    share = torch.from_numpy(signal_share())[timesteps].float()[:, None, None, None]
    signal, rest = share.sqrt(), (1 - share).sqrt()
    v = (signal * noisy - clean) / rest  # from the first equation
    torch.testing.assert_close(rest * noisy + signal * v, noise, atol=1e-2, rtol=1e-2)
    perfect = loss(clean, torch.Generator().manual_seed(0), lambda noisy, timesteps: v)
    assert float(perfect) < 1e-4
    assert float(loss(clean, torch.Generator().manual_seed(0), lambda *_: v + 0.5)) == (
        pytest.approx(0.25, rel=1e-2)
    )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_predicting_zero_costs_the_variance_of_the_target(prediction: str) -> None:
    """If image and noise have unit variance, v has unit variance at every timestep."""
    clean = torch.randn(256, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    loss = loss_of(prediction)(clean, torch.Generator().manual_seed(0), lambda n, _: 0 * n)
    assert float(loss) == pytest.approx(1, abs=STATISTICAL)


def test_weights_are_applied_per_example() -> None:
    clean = torch.zeros(8, 1, 2, 2)
    loss = loss_of("epsilon", min_snr_gamma=5.0)
    timesteps = loss.draw_timesteps(8, torch.Generator().manual_seed(3))
    seen: list[torch.Tensor] = []

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        seen.append(timesteps)
        share = torch.from_numpy(signal_share())[timesteps].float()[:, None, None, None]
        return noisy / (1 - share).sqrt() + torch.arange(8.0)[:, None, None, None]

    found = float(loss(clean, torch.Generator().manual_seed(3), predict))
    assert torch.equal(seen[0], timesteps)
    weights = np.minimum(1, 5 / snr()[timesteps.numpy()])
    assert found == pytest.approx(np.mean(weights * np.arange(8) ** 2), rel=1e-3)


def test_timesteps_are_stratified_and_follow_the_generator() -> None:
    loss = loss_of("epsilon")
    for seed in range(20):
        timesteps = loss.draw_timesteps(10, torch.Generator().manual_seed(seed))
        assert sorted(timesteps.numpy() // 100) == list(range(10))
        again = loss.draw_timesteps(10, torch.Generator().manual_seed(seed))
        assert torch.equal(timesteps, again)
    orders = {
        tuple((loss.draw_timesteps(4, torch.Generator().manual_seed(s)) // 250).tolist())
        for s in range(20)
    }
    assert len(orders) > 5  # strata are assigned to the examples at random


def test_logit_normal_timesteps_prefer_the_middle() -> None:
    """Esser et al. 2024, section 3.1: logit(t) is a standard normal variable."""
    loss = loss_of("epsilon", timesteps="logit_normal")
    timesteps = loss.draw_timesteps(20_000, torch.Generator().manual_seed(0)).double()
    position = (timesteps + 0.5) / NUM_STEPS
    logits = torch.logit(position)
    assert float(logits.mean()) == pytest.approx(0, abs=STATISTICAL)
    assert float(logits.std()) == pytest.approx(1, abs=STATISTICAL)
    middle = float(((position > 0.25) & (position < 0.75)).double().mean())
    assert middle == pytest.approx(0.728, abs=STATISTICAL)  # Φ(ln 3) - Φ(-ln 3)
    assert 0 <= int(timesteps.min()) <= int(timesteps.max()) < NUM_STEPS


def test_half_precision_predictions_are_compared_in_single_precision() -> None:
    clean = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = loss_of("v_prediction")(
        clean, torch.Generator().manual_seed(0), lambda noisy, _: noisy.bfloat16()
    )
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta_stop": 1}, r"objective.noise_schedule.beta_stop is not an option of DDPMScheduler"),
        ({"beta_schedule": "bent"}, r"objective.noise_schedule: DDPMScheduler refuses this: bent"),
    ],
)
def test_a_bad_schedule_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        noise_schedule(ObjectiveConfig(noise_schedule=options))
    assert "\n" not in str(caught.value)


def test_a_zero_terminal_snr_has_no_infinite_weight() -> None:
    """Lin et al. 2024: at the last timestep there is only noise, and v is minus the image."""
    loss = loss_of(
        "v_prediction", min_snr_gamma=5.0, noise_schedule={"rescale_betas_zero_snr": True}
    )
    weights = loss.weights(torch.arange(NUM_STEPS))
    assert torch.isfinite(weights).all()
    assert float(weights[-1]) == pytest.approx(0, abs=ROUNDING)
