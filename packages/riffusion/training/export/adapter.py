"""Writes LoRA and textual inversion as small files for stock diffusers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from riffusion.io.files import write_file
from riffusion.io.folders import replaced_folder
from riffusion.training.adapters.textual_inversion import word_file_name, write_words

LORA_NAME = "pytorch_lora_weights.safetensors"
WORDS_FOLDER = "new_words"


def write_adapter(
    directory: Path,
    lora: Mapping[str, torch.Tensor],
    words: Mapping[str, torch.Tensor],
    base: str,
    usage: Sequence[str] = (),
) -> None:
    """Write an adapter.

    Args:
        directory: replaced when the new one is complete.
        lora: LoRA weights under diffusers' names; may be empty.
        words: new words with their embeddings; may be empty.
        base: name of the base checkpoint.
        usage: further lines of Python for the README, after those that load the adapter.
    """
    with replaced_folder(directory) as folder:
        lines = ["pipeline = StableDiffusionPipeline.from_pretrained(base)"]
        if lora:
            save_file(dict(lora), folder / LORA_NAME, metadata={"format": "pt"})
            lines.append("pipeline.load_lora_weights(adapter)")
        if words:
            write_words(words, folder / WORDS_FOLDER)
            lines += [
                f'pipeline.load_textual_inversion(f"{{adapter}}/{WORDS_FOLDER}/'
                f'{word_file_name(word)}")'
                for word in words
            ]
        lines += usage
        text = _README.format(base=base, code="\n".join(lines))
        write_file(text.encode(), folder / "README.md")


_README = """# Adapter

For the checkpoint that it was trained on: {base}. The folder `checkpoint` beside this one holds
base and adapter merged.

```python
from diffusers import StableDiffusionPipeline

{code}
```
"""
