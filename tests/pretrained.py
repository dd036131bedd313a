"""Tiny transformers models saved with a small tokenizer, as folders a user would have; shared by tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectra.training.libraries import quiet

WORDS = ("a", "the", "film", "was", "good", "bad", "very", "not", "and", "it", "##ness", "##ly")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (*SPECIAL, *WORDS)

_SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


def encoder_tokenizer() -> Any:
    """Word pieces between [CLS] and [SEP], as BERT's."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    pieces = _word_pieces()
    pieces.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, VOCABULARY.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names
    )


def decoder_tokenizer() -> Any:
    """The same word pieces with nothing around them and nothing to pad with, as GPT-2's."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=_word_pieces(), unk_token="[UNK]", eos_token="[SEP]")


def save_bert(folder: Path, head: str = "BertForMaskedLM", **settings: Any) -> Path:
    """A BERT of one layer with its tokenizer; the head is named by its class."""
    import transformers

    sizes = {**_SIZES, "vocab_size": len(VOCABULARY), "max_position_embeddings": 32}
    return _save(getattr(transformers, head), transformers.BertConfig(**sizes, **settings), encoder_tokenizer(), folder)


def save_gpt2(folder: Path, head: str = "GPT2LMHeadModel", **settings: Any) -> Path:
    """A GPT-2 of one layer with its tokenizer."""
    import transformers

    end = {"bos_token_id": VOCABULARY.index("[SEP]"), "eos_token_id": VOCABULARY.index("[SEP]")}
    config = transformers.GPT2Config(
        n_embd=16, n_layer=1, n_head=2, vocab_size=len(VOCABULARY), n_positions=32, **end, **settings
    )
    return _save(getattr(transformers, head), config, decoder_tokenizer(), folder)


def save_t5(folder: Path) -> Path:
    """A T5 of one layer with its tokenizer."""
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": len(VOCABULARY)}
    ids = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": VOCABULARY.index("[SEP]")}
    return _save(T5ForConditionalGeneration, T5Config(**sizes, **ids), encoder_tokenizer(), folder)


def save_adapter(folder: Path, base: Path, num_labels: int = 2) -> Path:
    """A LoRA adapter of a text classifier over a saved base, which it names by its path."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(1)
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=num_labels)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
        for parameter in adapted.parameters():  # a fresh adapter changes nothing
            parameter.data += 0.01
        adapted.save_pretrained(folder)
    return folder


def _word_pieces() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import WhitespaceSplit

    pieces = Tokenizer(WordPiece({word: index for index, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    pieces.pre_tokenizer = WhitespaceSplit()
    return pieces


def _save(kind: Any, config: Any, tokenizer: Any, folder: Path) -> Path:
    import torch

    torch.manual_seed(0)
    with quiet():
        kind(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
