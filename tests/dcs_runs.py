"""Tiny models, data and trainers for the tests of DCS."""

import torch


def bert(seed=0, **settings):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    return BertForSequenceClassification(BertConfig(vocab_size=40, max_position_embeddings=16, **(sizes | settings)))


def gpt2(seed=0):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40, n_positions=16, bos_token_id=0, eos_token_id=0)
    )


def m2m100(seed=0):
    """A model from sequence to sequence that does not say how to make decoder inputs of labels."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    return M2M100ForConditionalGeneration(M2M100Config(**_bart_sizes(seed)))


def bart_classifier(seed=0):
    """A classifier with an encoder and a decoder, whose labels are no tokens."""
    from transformers import BartConfig, BartForSequenceClassification

    return BartForSequenceClassification(BartConfig(**_bart_sizes(seed), num_labels=2))


def _bart_sizes(seed):
    torch.manual_seed(seed)
    sides = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in (("layers", 1), ("ffn_dim", 24))}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return {"vocab_size": 40, "d_model": 16, "max_position_embeddings": 16, **sides, **heads}


def samples(number=33, *, flipped=6, seed=0):
    """Six words; the label says whether the first is in the upper half, except for the first `flipped` samples."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(5, 40, (6,), generator=generator) for _ in range(number)]
    return [{"input_ids": row, "labels": int(row[0] > 22) ^ int(n < flipped)} for n, row in enumerate(rows)]


def numbers(number=32):
    return [{**one, "labels": float(one["input_ids"].float().mean()) / 20} for one in samples(number)]


def sentences(number=24):
    return [{"input_ids": one["input_ids"], "labels": one["input_ids"].clone()} for one in samples(number)]


def translations(number=24):
    """Six words, and the last five of them as the answer; the last place is no target."""
    rows = [one["input_ids"] for one in samples(number)]
    return [{"input_ids": row, "labels": torch.cat([row[1:], torch.tensor([-100])])} for row in rows]


def arguments(folder, **changes):
    from transformers import TrainingArguments

    options = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 8,
        "learning_rate": 5e-3,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return TrainingArguments(output_dir=str(folder), **(options | changes))


def trainer(folder, config=None, model=None, data=None, *, dcs=None, **changes):
    """A DCS trainer; keyword arguments of its own as ``dcs``, all others are training arguments."""
    from spectra.training.dcs import DCSTrainer

    return DCSTrainer(
        bert() if model is None else model,
        arguments(folder, **changes),
        config=config,
        train_dataset=samples() if data is None else data,
        **(dcs or {}),
    )


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])
