"""Trains a CLIP tokenizer on captions.

Byte-pair encoding as in CLIP: lower case, `</w>` ends a word. The vocabulary includes all 256
bytes, within a word and at its end, so every text can be tokenized.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
_END_OF_WORD = "</w>"


def train_tokenizer(
    captions: Iterable[str], vocabulary_size: int, max_tokens: int
) -> CLIPTokenizer:
    """Train a tokenizer.

    Args:
        captions: the training text; common words become single tokens.
        vocabulary_size: maximum number of tokens; 514 of them are bytes and markers.
        max_tokens: tokens per prompt, including start and end; longer prompts are split into
            chunks.
    """
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    singles = [*bytes_, *(byte + _END_OF_WORD for byte in bytes_)]
    learner = Tokenizer(models.BPE(end_of_word_suffix=_END_OF_WORD))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    learner.train_from_iterator(
        (caption.lower() for caption in captions),
        trainers.BpeTrainer(
            # The end-of-word forms of the bytes and the two markers are added below.
            vocab_size=vocabulary_size - len(bytes_) - 2,
            initial_alphabet=bytes_,
            end_of_word_suffix=_END_OF_WORD,
            show_progress=False,
        ),
    )
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    tokens = list(dict.fromkeys([*singles, *("".join(merge) for merge in merges), START, END]))
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=max_tokens,
    )


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a tokenizer so that every version of transformers can read it.

    transformers 5 writes only `tokenizer.json`; earlier versions and other programs need
    `vocab.json` and `merges.txt`.
    """
    tokenizer.save_pretrained(folder)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocabulary = json.dumps(model["vocab"], ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
