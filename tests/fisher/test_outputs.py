import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spectra.errors import InputError
from spectra.fisher.objectives import objectives
from spectra.fisher.outputs import Categorical, Custom, Gaussian, outputs_of, task_of

WORDS = 20
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TEXT = {**SMALL, "vocab_size": WORDS, "max_position_embeddings": 12}
GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": WORDS, "n_positions": 12, "bos_token_id": 0, "eos_token_id": 0}
T5 = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2, "vocab_size": WORDS, "decoder_start_token_id": 0}
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2} | {
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": WORDS, "max_position_embeddings": 12,
}  # fmt: skip


def made(name, **settings):
    """A tiny model in eval mode with weights so large that its predictions are not uniform."""
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    model = kind(kind.config_class(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model


def tokens(*shape, seed=1):
    return torch.randint(3, WORDS, shape, generator=torch.Generator().manual_seed(seed))


def some(labels):
    """Labels at every third position."""
    chosen = torch.full_like(labels, -100)
    chosen[:, 1::3] = labels[:, 1::3]
    return chosen


def text(num_samples):
    return {"input_ids": tokens(num_samples, 8), "attention_mask": torch.ones(num_samples, 8, dtype=torch.long)}


def pictures(num_samples):
    return {"pixel_values": torch.randn(num_samples, 3, 8, 8, generator=torch.Generator().manual_seed(2))}


def classes(num_samples):
    return torch.arange(num_samples) % 3


# Model, its settings, and labels for a number of samples.
MODELS = {
    "bert, masked": ("BertForMaskedLM", TEXT, text, lambda n: some(tokens(n, 8))),
    "bert, classes": ("BertForSequenceClassification", {**TEXT, "num_labels": 3}, text, classes),
    "bert, tokens": ("BertForTokenClassification", {**TEXT, "num_labels": 3}, text, lambda n: some(tokens(n, 8) % 3)),
    "gpt2": ("GPT2LMHeadModel", GPT2, text, lambda n: some(tokens(n, 8))),
    "llama": ("LlamaForCausalLM", TEXT, text, lambda n: some(tokens(n, 8))),
    "llama, classes": ("LlamaForSequenceClassification", {**TEXT, "num_labels": 3, "pad_token_id": 0}, text, classes),
    "t5": ("T5ForConditionalGeneration", T5, text, lambda n: some(tokens(n, 5))),
    "bart": ("BartForConditionalGeneration", BART, text, lambda n: some(tokens(n, 5))),
    "mbart": ("MBartForConditionalGeneration", BART, text, lambda n: some(tokens(n, 5))),  # starts with the last label
    "m2m100": ("M2M100ForConditionalGeneration", BART, text, lambda n: some(tokens(n, 5))),  # has no method that shifts
    "vit": ("ViTForImageClassification", {**SMALL, "image_size": 8, "patch_size": 4, "num_labels": 3}, pictures, classes),
}


def empirical(outputs, reduction="token_mean"):
    return list(objectives(outputs, kind="empirical", reduction=reduction, num_draws=1, generator=torch.Generator()))


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_the_models_own(name):
    kind, settings, inputs, labels = MODELS[name]
    model = made(kind, **settings)
    batch = {**inputs(1), "labels": labels(1)}
    (loss,) = empirical(outputs_of(model, batch, task_of(model)))
    assert loss.item() == pytest.approx(model(**batch).loss.item(), abs=1e-6)  # both in float32, about 3


@pytest.mark.parametrize("name", MODELS)
def test_samples_do_not_depend_on_their_batch(name):
    kind, settings, inputs, labels = MODELS[name]
    model = made(kind, **settings)
    batch = {**inputs(3), "labels": labels(3)}
    together = outputs_of(model, batch, task_of(model))
    for n in range(3):
        alone = outputs_of(model, {key: value[n : n + 1] for key, value in batch.items()}, task_of(model))
        assert torch.equal(alone.labels[0], together.labels[n])
        torch.testing.assert_close(alone.logits[0], together.logits[n], rtol=0, atol=1e-5)  # float32 logits of about 1


def test_half_the_squared_error_of_a_regression_is_half_of_the_models_own_loss():
    model = made("BertForSequenceClassification", **TEXT, num_labels=1)
    batch = {**text(1), "labels": torch.tensor([0.7])}
    outputs = outputs_of(model, batch, task_of(model))
    assert isinstance(outputs, Gaussian)
    (loss,) = empirical(outputs)
    assert loss.item() == pytest.approx(model(**batch).loss.item() / 2, abs=1e-6)  # float32


@pytest.mark.parametrize("name", ["t5", "bart", "gpt2", "llama"])
def test_no_cache_is_built_and_no_loss_computed(name):
    kind, settings, inputs, labels = MODELS[name]
    model = made(kind, **settings)
    seen = []
    model.register_forward_hook(lambda module, arguments, output: seen.append(output))
    outputs_of(model, {**inputs(2), "labels": labels(2)}, task_of(model))
    assert seen[0].loss is None
    assert seen[0].past_key_values is None


def test_given_decoder_inputs_are_used():
    model = made("T5ForConditionalGeneration", **T5)
    batch = {**text(2), "labels": tokens(2, 5), "decoder_input_ids": tokens(2, 5, seed=3)}
    expected = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
    assert torch.equal(outputs_of(model, batch, "seq2seq").logits, expected)


def test_without_labels_a_causal_batch_predicts_its_next_tokens():
    batch = text(2)
    batch["attention_mask"][0, 6:] = 0
    outputs = outputs_of(made("GPT2LMHeadModel", **GPT2), batch, "causal-lm")
    ids = batch["input_ids"].tolist()
    assert outputs.labels.tolist() == [[*ids[0][1:6], -100, -100, -100], [*ids[1][1:], -100]]
    assert outputs.num_targets.tolist() == [5, 7]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("with_labels", [True, False], ids=["labels", "no labels"])
def test_padding_of_a_causal_batch_changes_nothing(side, with_labels, attention):
    model = made("LlamaForCausalLM", **TEXT, attn_implementation=attention)
    batch = {**text(2), "labels": tokens(2, 8)} if with_labels else text(2)
    width = (3, 0) if side == "left" else (0, 3)
    fill = {"input_ids": 1, "attention_mask": 0, "labels": -100}
    padded = {key: nn.functional.pad(value, width, value=fill[key]) for key, value in batch.items()}
    expected, found = (outputs_of(model, some_batch, "causal-lm") for some_batch in (batch, padded))
    assert torch.equal(found.num_targets, expected.num_targets)
    # Rotary positions are relative; their sines and cosines round differently.
    torch.testing.assert_close(empirical(found)[0], empirical(expected)[0], rtol=0, atol=1e-5)


def test_a_ready_made_mask_says_nothing_about_targets():
    mask = torch.zeros(1, 1, 8, 8).masked_fill(torch.ones(8, 8).triu(1).bool(), torch.finfo(torch.float32).min)
    batch = {"input_ids": tokens(1, 8), "attention_mask": mask}
    assert outputs_of(made("LlamaForCausalLM", **TEXT), batch, "causal-lm").num_targets.tolist() == [7]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_peft_changes_nothing_while_its_update_is_zero():
    model = made("T5ForConditionalGeneration", **T5)
    batch = {**text(2), "labels": tokens(2, 5)}
    expected = outputs_of(model, batch, "seq2seq").logits
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q"], task_type="SEQ_2_SEQ_LM")).eval()
    found = outputs_of(adapted, batch, task_of(adapted)).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # float32 logits of about 1


class Masked(nn.Module):
    """Takes a mask, as models with a cache do, that is longer than the tokens."""

    def forward(self, logits, attention_mask):
        return logits


def test_a_mask_of_another_length_says_nothing_about_targets():
    batch = {"logits": torch.zeros(1, 8, WORDS), "attention_mask": torch.zeros(1, 9), "labels": tokens(1, 8)}
    assert outputs_of(Masked(), batch, "causal-lm").num_targets.tolist() == [7]


class Product(nn.Module):
    """Takes two arguments."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, left, right):
        return self.layer(left * right)


@pytest.mark.parametrize("container", [tuple, list, lambda pair: {"left": pair[0], "right": pair[1]}])
def test_several_inputs_of_a_plain_module_go_in_a_tuple_or_mapping(container):
    torch.manual_seed(0)
    module, left, right = Product(), torch.randn(2, 4), torch.randn(2, 4)
    outputs = outputs_of(module, (container((left, right)), torch.tensor([0, 2])), "classification")
    assert torch.equal(outputs.logits[:, 0], module(left, right))


def test_a_plain_module_takes_a_mapping_too():
    module, left = Product(), torch.ones(2, 4)
    outputs = outputs_of(module, {"left": left, "right": left, "labels": torch.tensor([0, 2])}, "classification")
    assert outputs.labels.tolist() == [[0], [2]]


def test_what_a_data_loader_makes_is_a_pair():
    data = TensorDataset(torch.ones(4, 5, 2), torch.zeros(4, 5, dtype=torch.int32))
    (batch,) = DataLoader(data, batch_size=4)
    outputs = outputs_of(nn.Linear(2, 3), batch, "classification")
    assert outputs.logits.shape == (4, 5, 3)
    assert outputs.labels.dtype == torch.int64


def test_float_targets_of_a_plain_module_are_a_regression():
    assert isinstance(outputs_of(nn.Linear(2, 3), (torch.ones(4, 2), torch.ones(4, 3)), "classification"), Gaussian)
    assert isinstance(outputs_of(nn.Linear(2, 3), (torch.ones(4, 2), torch.ones(4).long()), "classification"), Categorical)


def test_whole_numbers_may_be_the_targets_of_a_regression():
    outputs = outputs_of(nn.Linear(2, 1), (torch.ones(4, 2), torch.arange(4)), "regression")
    assert outputs.targets.tolist() == [[0.0], [1.0], [2.0], [3.0]]


def test_a_loss_function_takes_the_place_of_the_task():
    module, batch = nn.Linear(2, 1), {"inputs": torch.ones(4, 2)}
    outputs = outputs_of(module, batch, "classification", loss=lambda model, given: model(given["inputs"])[:, 0].square())
    assert isinstance(outputs, Custom)
    assert torch.equal(outputs.losses, module(batch["inputs"])[:, 0].square())


@pytest.mark.parametrize("batch", [{"settings": 3, "inputs": torch.ones(4, 2)}, ((torch.ones(4, 2),), None), torch.ones(4, 2)])
def test_a_loss_function_that_takes_the_mean_is_refused(batch):
    with pytest.raises(InputError, match=r"returned shape \(\) for a batch of 4: return one loss per sample"):
        outputs_of(nn.Linear(2, 1), batch, "classification", loss=lambda model, given: model(torch.ones(4, 2)).mean())


def test_a_batch_whose_size_cannot_be_seen_is_the_loss_functions_own():
    outputs = outputs_of(nn.Linear(2, 1), ["a", "b"], "classification", loss=lambda model, given: model(torch.ones(2, 2))[:, 0])
    assert len(outputs.losses) == 2


@pytest.mark.parametrize(
    ("task", "remedy"),
    [
        ("masked-lm", "mask some tokens and pass 'labels'"),
        ("seq2seq", "pass the output tokens as 'labels'"),
        ("token-classification", "pass 'labels' in it, or a pair"),
    ],
)
def test_a_batch_without_labels_is_refused(task, remedy):
    with pytest.raises(InputError, match=f"the batch has no target for the task '{task}': {remedy}"):
        outputs_of(nn.Linear(2, 3), text(1), task)


@pytest.mark.parametrize("batch", [{"inputs_embeds": torch.zeros(1, 8, 16)}, (torch.zeros(1, 8), None)])
def test_a_causal_batch_without_tokens_is_refused(batch):
    with pytest.raises(InputError, match="no target for the task 'causal-lm': pass 'labels' or 'input_ids'"):
        outputs_of(nn.Linear(2, 3), batch, "causal-lm")


@pytest.mark.parametrize(("batch", "got"), [(torch.ones(2), "Tensor"), ([1, 2, 3], "list of 3"), ("text", "str")])
def test_a_batch_of_another_form_is_refused(batch, got):
    with pytest.raises(InputError, match=f"a batch is a {got}: pass a mapping"):
        outputs_of(nn.Linear(2, 3), batch, "classification")


def test_targets_that_are_no_tensor_are_refused():
    with pytest.raises(InputError, match="the targets of a batch are a list"):
        outputs_of(nn.Linear(2, 3), (torch.ones(2, 2), [0, 1]), "classification")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_labels_that_are_no_integers_are_refused(dtype):
    model = made("ViTForImageClassification", **MODELS["vit"][1])
    with pytest.raises(InputError, match=f"the labels are {dtype}: pass classes as integers"):
        outputs_of(model, {**pictures(2), "labels": torch.ones(2, 3, dtype=dtype)}, task_of(model))


@pytest.mark.parametrize("task", ["causal-lm", "masked-lm", "seq2seq", "token-classification"])
def test_tokens_need_a_label_each(task):
    with pytest.raises(InputError, match=rf"the labels have shape \(2,\): the task '{task}' needs \(samples, tokens\)"):
        outputs_of(nn.Linear(2, 3), {**text(2), "labels": torch.zeros(2, dtype=torch.long)}, task)


def test_unnamed_inputs_of_a_sequence_to_sequence_model_are_refused():
    with pytest.raises(InputError, match="inputs of a seq2seq batch are not named"):
        outputs_of(made("BartForConditionalGeneration", **BART), (tokens(1, 8), tokens(1, 5)), "seq2seq")


def test_a_model_that_does_not_tell_how_its_decoder_starts_is_refused():
    with pytest.raises(InputError, match="has no 'decoder_input_ids'.*decoder_start_token_id and pad_token_id"):
        outputs_of(nn.Linear(2, 3), {**text(1), "labels": tokens(1, 5)}, "seq2seq")


def test_a_model_without_logits_is_refused():
    model = made("BertModel", **TEXT)
    with pytest.raises(InputError, match="returned a BaseModelOutputWithPoolingAndCrossAttentions without logits. Pass loss="):
        outputs_of(model, {**text(1), "labels": tokens(1, 8)}, "masked-lm")


def test_an_unknown_task_is_refused():
    with pytest.raises(InputError, match="unknown task 'lm'"):
        outputs_of(nn.Linear(2, 3), text(1), "lm")
