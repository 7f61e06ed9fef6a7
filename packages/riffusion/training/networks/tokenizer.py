"""A CLIP tokenizer with a vocabulary of its own, learned from captions.

Byte-pair encoding as CLIP's: lower case, `</w>` ends a word. All 256 bytes are in the vocabulary,
within and at the end of a word, so that every text can be read, in captions or not.
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
    """Learn a tokenizer.

    Args:
        captions: to learn from; common words become one token.
        vocabulary_size: at most so many tokens; 514 are bytes and marks.
        max_tokens: of a prompt, start and end included; longer ones are read in chunks.
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
            vocab_size=vocabulary_size
            - len(bytes_)
            - 2,  # the trainer counts singles as they occur
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
    """Write a tokenizer as every release of transformers reads it.

    transformers 5 writes `tokenizer.json` alone; earlier ones, and other programs, want
    `vocab.json` and `merges.txt`.
    """
    tokenizer.save_pretrained(folder)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocabulary = json.dumps(model["vocab"], ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
