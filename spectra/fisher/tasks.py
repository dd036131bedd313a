"""What a model predicts, told from the name of its class.

===========================  =================================================================  =========================
task                         models it is recognised by                                         logits
===========================  =================================================================  =========================
``causal-lm``                ``...ForCausalLM``, decoder-only ``...ForConditionalGeneration``,  (samples, tokens, words)
                             ``GPT2LMHeadModel`` and its like
``masked-lm``                ``...ForMaskedLM``                                                 (samples, tokens, words)
``seq2seq``                  ``...ForConditionalGeneration`` with an encoder and a decoder      (samples, tokens, words)
``sequence-classification``  ``...ForSequenceClassification``                                   (samples, classes)
``token-classification``     ``...ForTokenClassification``                                      (samples, tokens, classes)
``classification``           classifiers of images, audio and video; plain modules              (samples, [..., ] classes)
``regression``               sequence and image classifiers with one label, or so configured    (samples, numbers)
===========================  =================================================================  =========================
"""

from __future__ import annotations

from typing import Any

from torch import nn

from spectra.errors import InputError, did_you_mean

TASKS = (
    "causal-lm",
    "masked-lm",
    "seq2seq",
    "sequence-classification",
    "token-classification",
    "regression",
    "classification",
)

_ENDINGS = {
    "ForCausalLM": "causal-lm",
    # By name: XLNetLMHeadModel and XLMWithLMHeadModel do not predict the next token.
    "GPT2LMHeadModel": "causal-lm",
    "OpenAIGPTLMHeadModel": "causal-lm",
    "CTRLLMHeadModel": "causal-lm",
    "BertLMHeadModel": "causal-lm",
    "ForMaskedLM": "masked-lm",
    "ForConditionalGeneration": "seq2seq",
    "EncoderDecoderModel": "seq2seq",
    "MarianMTModel": "seq2seq",
    "ForSequenceClassification": "sequence-classification",
    "ForTokenClassification": "token-classification",
    "ForImageClassification": "classification",
    "ForAudioClassification": "classification",
    "ForVideoClassification": "classification",
}


def task_of(model: nn.Module, task: str | None = None) -> str:
    """Tell what a model predicts.

    Args:
        model: A transformers model, with or without PEFT around it, or a plain module.
        task: The user's word, which is checked and returned.

    Returns:
        One of ``TASKS``; ``"classification"`` for plain modules.

    Raises:
        InputError: An unknown ``task``; or the class does not tell, or predicts several labels per sample.
    """
    if task is not None:
        if task not in TASKS:
            raise InputError(f"unknown task {task!r}.{did_you_mean(task, TASKS)} Known: {', '.join(TASKS)}.")
        return task
    base = without_peft(model)
    name, config = type(base).__name__, getattr(base, "config", None)
    found = next((task for ending, task in _ENDINGS.items() if name.endswith(ending)), None)
    if found is None and any(hasattr(module, "config") for module in base.modules()):
        # A transformers model of another kind, or something around one: nothing says where logits and labels belong.
        raise InputError(f"the class {name!r} does not tell what the model predicts. Pass task=, one of: {', '.join(TASKS)}.")
    if found == "seq2seq" and not getattr(config, "is_encoder_decoder", False):
        return "causal-lm"
    if found in ("sequence-classification", "classification"):
        return "regression" if _predicts_numbers(config) else found
    return found or "classification"


def without_peft(model: nn.Module) -> nn.Module:
    """Look through a ``PeftModel`` at the model inside, whose class and configuration say more.

    Args:
        model: Any.

    Returns:
        The model inside, or ``model``.
    """
    base = getattr(model, "get_base_model", None)
    return base() if callable(base) else model


def _predicts_numbers(config: Any) -> bool:
    """Follow transformers, where a classifier with one label is a regression."""
    problem = getattr(config, "problem_type", None)
    if problem == "multi_label_classification":
        raise InputError(
            "the model predicts several labels per sample (problem_type 'multi_label_classification'). "
            "Pass loss=, a function of model and batch that returns one negative log-likelihood per sample."
        )
    return problem == "regression" or getattr(config, "num_labels", None) == 1
