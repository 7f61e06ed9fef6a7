"""What fine-tuning learned, as small files that stock diffusers puts on the base checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from riffusion.io.files import write_file
from riffusion.io.folders import replaced_folder
from riffusion.training.adapters.textual_inversion import word_file_name, write_words

UPDATES_NAME = "pytorch_lora_weights.safetensors"
WORDS_FOLDER = "new_words"


def write_adapter(
    directory: Path,
    updates: Mapping[str, torch.Tensor],
    words: Mapping[str, torch.Tensor],
    base: str,
) -> None:
    """Write an adapter.

    Args:
        directory: replaced, once the new one is complete.
        updates: low-rank updates under diffusers' names; may be none.
        words: new words with their embeddings; may be none.
        base: what it is for, in words.
    """
    with replaced_folder(directory) as folder:
        lines = ["pipeline = StableDiffusionPipeline.from_pretrained(base)"]
        if updates:
            save_file(dict(updates), folder / UPDATES_NAME, metadata={"format": "pt"})
            lines.append("pipeline.load_lora_weights(adapter)")
        if words:
            write_words(words, folder / WORDS_FOLDER)
            lines += [
                f'pipeline.load_textual_inversion(f"{{adapter}}/{WORDS_FOLDER}/'
                f'{word_file_name(word)}")'
                for word in words
            ]
        text = _README.format(base=base, code="\n".join(lines))
        write_file(text.encode(), folder / "README.md")


_README = """# Adapter

For the checkpoint it was trained on: {base}. The same, put together, is the checkpoint beside it.

```python
from diffusers import StableDiffusionPipeline

{code}
```
"""
