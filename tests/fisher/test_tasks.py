import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

from spectra.errors import InputError
from spectra.fisher.tasks import TASKS, task_of


def made(name, **settings):
    """A transformers model without the memory: only its class and configuration are looked at."""
    kind = getattr(transformers, name)
    with torch.device("meta"):
        return kind(kind.config_class(**settings))


SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
GPT2 = {"n_embd": 8, "n_layer": 1, "n_head": 2}
T5 = {"d_model": 8, "d_ff": 8, "d_kv": 4, "num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "settings", "task"),
    [
        ("GPT2LMHeadModel", GPT2, "causal-lm"),
        ("LlamaForCausalLM", SMALL, "causal-lm"),
        ("BertForMaskedLM", SMALL, "masked-lm"),
        ("T5ForConditionalGeneration", T5, "seq2seq"),
        ("BertForSequenceClassification", {**SMALL, "num_labels": 3}, "sequence-classification"),
        ("BertForSequenceClassification", {**SMALL, "num_labels": 1}, "regression"),
        ("BertForSequenceClassification", {**SMALL, "num_labels": 3, "problem_type": "regression"}, "regression"),
        ("BertForTokenClassification", SMALL, "token-classification"),
        ("ViTForImageClassification", SMALL, "classification"),
        ("ViTForImageClassification", {**SMALL, "num_labels": 1}, "regression"),
    ],
)
def test_the_class_of_a_transformers_model_tells_its_task(name, settings, task):
    assert task_of(made(name, **settings)) == task


def test_conditional_generation_without_an_encoder_predicts_the_next_token():
    class PictureForConditionalGeneration(nn.Module):  # as the decoders of transformers that take pictures are called
        config = transformers.LlamaConfig(**SMALL)

    assert task_of(PictureForConditionalGeneration()) == "causal-lm"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_peft_is_looked_through():
    config = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    assert task_of(get_peft_model(made("GPT2LMHeadModel", **GPT2), config)) == "causal-lm"


def test_a_plain_module_classifies():
    assert task_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU())) == "classification"


@pytest.mark.parametrize("task", TASKS)
def test_the_word_of_the_user_counts(task):
    assert task_of(nn.Linear(2, 3), task) == task


def test_an_unknown_task_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="unknown task 'masked_lm'. Did you mean 'masked-lm'"):
        task_of(nn.Linear(2, 3), "masked_lm")


@pytest.mark.parametrize("name", ["BertModel", "BertForPreTraining", "BertForQuestionAnswering"])
def test_a_class_that_does_not_tell_its_task_is_refused(name):
    with pytest.raises(InputError, match=f"class '{name}' does not tell what the model predicts. Pass task="):
        task_of(made(name, **SMALL))


def test_a_module_around_a_transformers_model_is_not_taken_for_a_plain_one():
    with pytest.raises(InputError, match="class 'Sequential' does not tell"):
        task_of(nn.Sequential(made("GPT2LMHeadModel", **GPT2)))


def test_several_labels_per_sample_are_refused():
    model = made("BertForSequenceClassification", **SMALL, num_labels=3, problem_type="multi_label_classification")
    with pytest.raises(InputError, match=r"several labels per sample .* Pass loss="):
        task_of(model)
