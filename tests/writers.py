"""Two-layer causal models with random weights that write, and tokenizers for them; shared by tests of rewriting."""

from __future__ import annotations

from typing import Any

from tests.pretrained import VOCABULARY, decoder_tokenizer

# As that of Llama 2: a system turn is refused by some models and taken by others.
_REFUSAL = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn here') }}{% endif %}"
_TURNS = "{% for turn in messages %}{{ '[CLS] ' + turn['role'] + ' : ' + turn['content'] + ' ' }}{% endfor %}"
_OPENING = "{% if add_generation_prompt %}{{ '[CLS] ' }}{% endif %}"
CHAT = f"{_TURNS}{_OPENING}"
CHAT_WITHOUT_SYSTEM = f"{_REFUSAL}{_TURNS}{_OPENING}"

POSITIONS = 48


def tokenizer(chat_template: str | None = None, **tokens: str) -> Any:
    """One token for each of a dozen words, and nothing to pad with unless it is given."""
    made = decoder_tokenizer()
    made.chat_template = chat_template
    made.add_special_tokens(tokens)
    return made


def llama(seed: int = 0, **settings: Any) -> Any:
    """Llama: rotary positions."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    ids = {"bos_token_id": None, "eos_token_id": VOCABULARY.index("[SEP]"), "pad_token_id": None}
    config = {"vocab_size": len(VOCABULARY), "max_position_embeddings": POSITIONS, **sizes, **ids, **settings}
    return _lively(LlamaForCausalLM, LlamaConfig(**config), seed)


def gpt2(seed: int = 0) -> Any:
    """GPT-2: learned positions."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS}
    ids = {"bos_token_id": None, "eos_token_id": VOCABULARY.index("[SEP]")}
    return _lively(GPT2LMHeadModel, GPT2Config(vocab_size=len(VOCABULARY), **sizes, **ids), seed)


def _lively(kind: Any, config: Any, seed: int) -> Any:
    """Make a model whose next word depends on those before: as initialised, all are about equally likely."""
    import torch

    torch.manual_seed(seed)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.7)
    return model.eval()
