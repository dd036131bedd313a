"""Tiny language models, rows and trainers for the tests of fine-tuning on responses."""

import torch

from tests.pretrained import VOCABULARY, decoder_tokenizer

ROWS = [
    {"prompt": "the film", "completion": "was good"},
    {"prompt": "a film was", "completion": "not very good and it was bad"},
    {"prompt": "it", "completion": "was the bad film"},
    {"prompt": "the very good", "completion": "film"},
]
SIZES = {"vocab_size": len(VOCABULARY), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32}
SMALL = {"bf16": False, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 2}


def llama(seed=0, **settings):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    end = VOCABULARY.index("[SEP]")
    return LlamaForCausalLM(LlamaConfig(**SIZES | HEADS | settings, bos_token_id=end, eos_token_id=end))


def trainer(folder, config=None, model=None, data=ROWS, *, arguments=None, eval_data=None, others=None, **changes):
    """A trainer on CPU that logs every step and writes no checkpoint; ``others`` are training arguments."""
    from spectra.training.sdft.fine_tuning import response_trainer, tuning_arguments
    from spectra.training.sdft.tuning_config import tuning_config

    options = tuning_config(config, **{**SMALL, **changes})
    calm = {"use_cpu": True, "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "report_to": []}
    return response_trainer(
        llama() if model is None else model,
        decoder_tokenizer(),
        data,
        folder,
        options,
        eval_data=eval_data,
        arguments=arguments or tuning_arguments(folder, options, **{**calm, **(others or {})}),
    )


def losses(run):
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


def parameters(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
