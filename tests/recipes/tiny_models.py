"""Tiny models that know the words of the small recipes' data, saved as a user would have them."""

from pathlib import Path

from spectra.recipes.make_data import files
from spectra.training.libraries import quiet

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}


def save_encoder(folder: Path) -> Path:
    """A BERT without a head, wide enough for spectra to be fitted."""
    from transformers import BertConfig, BertModel

    return _save(BertModel, BertConfig(**_SIZES, vocab_size=len(_vocabulary()), max_position_embeddings=64), folder)


def save_decoder(folder: Path) -> Path:
    """A Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    end = _SPECIAL.index("[SEP]")
    config = LlamaConfig(
        **_SIZES,
        vocab_size=len(_vocabulary()),
        max_position_embeddings=256,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=0,
    )
    return _save(LlamaForCausalLM, config, folder)


def _vocabulary() -> list[str]:
    return [*_SPECIAL, *sorted({word for text in files().values() for word in text.split()})]


def _tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word: place for place, word in enumerate(_vocabulary())}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", eos_token="[SEP]")


def _save(kind, config, folder: Path) -> Path:
    import torch

    torch.manual_seed(0)
    with quiet():
        kind(config).save_pretrained(folder)
        _tokenizer().save_pretrained(folder)
    return folder
