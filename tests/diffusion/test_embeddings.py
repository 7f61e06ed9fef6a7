"""Textual inversions of every format: prompts with the new word use its embeddings."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from riffusion.checkpoint.embeddings import add_embedding, read_embedding
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.training.adapters.textual_inversion import write_words
from tests.checkpoint.checkpoints import HIDDEN_SIZE

VECTORS = torch.randn(3, HIDDEN_SIZE, generator=torch.Generator().manual_seed(4))
WORD = "Sitar-Drone"
ERROR = 1e-5  # float32 sums in another order, values of about 1


def a1111_pickle(path: Path, vectors: torch.Tensor) -> Path:
    content = {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": WORD}
    torch.save(content | {"step": 500, "sd_checkpoint": None}, path / "any.pt")
    return path / "any.pt"


def a1111_safetensors(path: Path, vectors: torch.Tensor) -> Path:
    save_file({"emb_params": vectors}, path / f"{WORD}.safetensors")
    return path / f"{WORD}.safetensors"


def diffusers_pickle(path: Path, vectors: torch.Tensor) -> Path:
    torch.save({WORD: vectors}, path / "learned_embeds.bin")
    return path


def diffusers_safetensors(path: Path, vectors: torch.Tensor) -> Path:
    save_file({WORD: vectors}, path / "learned_embeds.safetensors")
    return path


def ours(path: Path, vectors: torch.Tensor) -> Path:
    write_words({WORD: vectors.flatten()}, path)
    return next(path.iterdir())


WRITERS = [a1111_pickle, a1111_safetensors, diffusers_pickle, diffusers_safetensors]


@pytest.fixture
def fresh(pristine: Path) -> RiffusionPipeline:
    return RiffusionPipeline.from_pretrained(pristine, device="cpu")


def hidden_states(encoder: Any, rows: list[torch.Tensor]) -> torch.Tensor:
    """The encoder's output for rows of embeddings, which the first unused tokens get."""
    tokenizer_ids = torch.arange(len(rows))[None]
    table = encoder.get_input_embeddings()
    kept = table.weight.detach().clone()
    with torch.no_grad():
        table.weight[: len(rows)] = torch.stack(rows)
        output: torch.Tensor = encoder(tokenizer_ids)[0]
        table.weight.copy_(kept)
    return output


@pytest.mark.parametrize("write", [*WRITERS, ours])
@pytest.mark.parametrize("num_vectors", [1, 3])
def test_a_prompt_uses_all_vectors_of_the_word(
    write: Callable[[Path, torch.Tensor], Path],
    num_vectors: int,
    fresh: RiffusionPipeline,
    tmp_path: Path,
) -> None:
    if write is ours and num_vectors > 1:
        num_vectors = 1  # `riffusion train` gives each word one
    vectors = VECTORS[:num_vectors]
    new = read_embedding(write(tmp_path, vectors))
    assert new.word == WORD
    text = "piano sitar-drone, bells"  # CLIP's tokenizer ignores case
    before = fresh.embed_text(text)
    known = fresh.text_encoder.get_input_embeddings().weight.detach().clone()
    add_embedding(new, fresh.tokenizer, fresh.text_encoder)
    ids = fresh.tokenizer("piano", add_special_tokens=False).input_ids
    rest = fresh.tokenizer(", bells", add_special_tokens=False).input_ids
    tokens = fresh.tokenizer
    ids = [tokens.bos_token_id, *ids, *[None] * num_vectors, *rest]
    ids += [tokens.eos_token_id] * (77 - len(ids))
    new_rows = iter(new.vectors.float())
    rows = [next(new_rows) if token is None else known[token] for token in ids]
    after = fresh.embed_text(text)
    assert torch.allclose(after, hidden_states(fresh.text_encoder, rows), atol=ERROR)
    assert float((after - before).abs().max()) > 0.1
    assert not torch.equal(fresh.embed_text("sitar-drones"), after)  # whole words only


def test_it_equals_stock_diffusers(
    fresh: RiffusionPipeline, pristine: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sitar.safetensors"
    save_file({"<sitar>": VECTORS}, path)
    stock = StableDiffusionPipeline.from_pretrained(pristine, safety_checker=None)
    stock.load_textual_inversion(str(path))
    add_embedding(read_embedding(path), fresh.tokenizer, fresh.text_encoder)
    for prompt in ("<sitar>", "bells <sitar> piano"):
        expected, _ = stock.encode_prompt(prompt, "cpu", 1, False)
        assert torch.allclose(fresh.embed_text(prompt), expected, atol=ERROR)


REFUSED: dict[str, tuple[Any, str]] = {
    "another width": ({"word": torch.zeros(768)}, "has a width of 768, the checkpoint's text enc"),
    "a known word": ({"piano": torch.zeros(HIDDEN_SIZE)}, "'piano' is already a word of this"),
    "two words": ({"church bells": torch.zeros(HIDDEN_SIZE)}, "'church bells' must be one word"),
    "no word": ({"": torch.zeros(HIDDEN_SIZE)}, "'' must be one word"),
    "NaN": ({"word": torch.full((1, HIDDEN_SIZE), torch.nan)}, "values that are not finite"),
    "integers": ({"word": torch.zeros(HIDDEN_SIZE, dtype=torch.int32)}, "must be floating point"),
    "three axes": ({"word": torch.zeros(1, 1, HIDDEN_SIZE)}, "of shape (1, 1, 64), it must be"),
    "Stable Diffusion XL": (
        {"clip_l": torch.zeros(1, 768), "clip_g": torch.zeros(1, 1280)},
        "for Stable Diffusion XL; use one for 1.x",
    ),
    "a LoRA": (
        {"unet.x.lora_A.weight": torch.zeros(4, 8), "unet.x.lora_B.weight": torch.zeros(8, 4)},
        "is no textual inversion, it holds unet.x.lora_A.weight",
    ),
    "text": (b"Not found", "is truncated or not a safetensors file"),
    "no file": (None, "is no file; name a textual inversion's file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, fresh: RiffusionPipeline, tmp_path: Path) -> None:
    content, expected = REFUSED[name]
    path = tmp_path / "x.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file(content, path)
    num_tokens = len(fresh.tokenizer)
    with pytest.raises(InputError) as refusal:
        add_embedding(read_embedding(path), fresh.tokenizer, fresh.text_encoder)
    message = str(refusal.value)
    assert message.startswith("embedding: ")
    assert str(path) in message
    assert expected in message
    assert "\n" not in message
    assert len(fresh.tokenizer) == num_tokens


def test_the_same_word_twice(fresh: RiffusionPipeline, tmp_path: Path) -> None:
    new = read_embedding(a1111_safetensors(tmp_path, VECTORS))
    add_embedding(new, fresh.tokenizer, fresh.text_encoder)
    with pytest.raises(InputError, match="'Sitar-Drone' is already a word"):
        add_embedding(new, fresh.tokenizer, fresh.text_encoder)
    other = dataclasses.replace(new, word="tabla")
    add_embedding(other, fresh.tokenizer, fresh.text_encoder)
    assert torch.equal(
        fresh.text_encoder.get_input_embeddings().weight[-6:], torch.cat([VECTORS, VECTORS])
    )
