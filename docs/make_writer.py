"""Make the small chat model that a page tunes: ``python docs/make_writer.py``.

Llama with two narrow layers, a token for each byte, a chat template, and weights as they were drawn: it shows how to call
things, and writes nothing that can be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path("demo-report") / "writer"

_START, _END = "<|im_start|>", "<|im_end|>"
_TEMPLATE = (
    "{% for turn in messages %}{{ '" + _START + "' + turn['role'] + '\n' + turn['content'] + '" + _END + "\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + _START + "assistant\n' }}{% endif %}"
)


def save_writer(folder: Path) -> None:
    """Write the model and its tokenizer.

    Args:
        folder: Made if it is missing.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from spectra.training.libraries import quiet

    tokenizer = _tokenizer()
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids: dict[str, Any] = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**sizes, **ids, max_position_embeddings=1024)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = Tokenizer(BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    marks: dict[str, Any] = {"eos_token": _END, "additional_special_tokens": [_START]}
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=tokens, chat_template=_TEMPLATE, **marks)


if __name__ == "__main__":
    save_writer(FOLDER)
