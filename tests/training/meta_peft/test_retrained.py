import json
import math

import pytest
import torch
from peft import IA3Config, LoraConfig
from torch import nn
from transformers import AutoModelForSequenceClassification

from spectra.errors import InputError, ResultsError
from spectra.training.libraries import quiet
from spectra.training.meta_peft.adapters import TaskAdapters
from spectra.training.meta_peft.retrained import RetrainedBase, RetrainingInfo, retrained_base
from tests.dcs_runs import bert, samples
from tests.pretrained import encoder_tokenizer

TASKS = ("cola", "rte")
ROWS = torch.stack([row["input_ids"] for row in samples(4)])

CONFIGS = {
    "lora": lambda: LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS"),
    "ia3": lambda: IA3Config(target_modules=["key"], feedforward_modules=[], task_type="SEQ_CLS"),
    "heads only": lambda: None,
}


def info(**changes):
    options = {"method": "peft_ml", "tasks": TASKS, "ranks": {"cola": 2, "rte": 4}, "peft_type": "LORA", "head": "per_task"}
    return RetrainingInfo(**{**options, "head_modules": ("classifier",), "num_steps": 7, "selected_by": "last", **changes})


def trained_adapters(config="lora", head="per_task"):
    adapters = TaskAdapters(bert(), CONFIGS[config](), TASKS, head=head)
    optimizer = torch.optim.SGD(list(adapters.model.parameters()), lr=0.5)
    for task in TASKS:
        adapters.activate(task)
        optimizer.zero_grad()
        adapters.model(input_ids=ROWS).logits.square().sum().backward()
        optimizer.step()
    return adapters


def linear():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 3), nn.Tanh())


class TestRetrainedBase:
    @pytest.mark.parametrize("head", ["per_task", "shared"])
    @pytest.mark.parametrize("config", CONFIGS)
    def test_is_what_the_live_model_computes_without_adapters(self, config, head):
        adapters = trained_adapters(config, head)

        base = retrained_base(adapters, info())

        adapters.model.eval()
        with adapters.disabled():
            assert torch.equal(base.model(input_ids=ROWS).logits, adapters.model(input_ids=ROWS).logits)
        assert list(base.model.state_dict()) == list(bert().state_dict())
        assert type(base.model) is type(bert())
        assert not base.model.training

    def test_the_live_model_is_not_touched(self):
        adapters = trained_adapters()
        before = {key: one.clone() for key, one in adapters.model.state_dict().items()}

        base = retrained_base(adapters, info())
        with torch.no_grad():
            for parameter in base.model.parameters():
                parameter += 1

        assert all(torch.equal(one, before[key]) for key, one in adapters.model.state_dict().items())
        assert adapters.active == "rte"

    def test_the_largest_rank_is_that_of_any_task(self):
        assert info().largest_rank == 4
        assert info(ranks=dict.fromkeys(TASKS)).largest_rank is None


class TestFiles:
    @pytest.mark.parametrize("config", CONFIGS)
    def test_plain_from_pretrained_loads_the_same_model(self, config, tmp_path):
        base = retrained_base(trained_adapters(config), info())

        base.save(tmp_path)

        with quiet():
            plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        assert plain.state_dict().keys() == base.model.state_dict().keys()
        assert torch.equal(plain(input_ids=ROWS).logits, base.model(input_ids=ROWS).logits)

    def test_what_is_loaded_is_what_was_saved(self, tmp_path):
        base = retrained_base(trained_adapters(), info(metrics={"loss": 0.5, "wild": math.inf}))

        base.save(tmp_path / "new")
        again = RetrainedBase.load(tmp_path / "new")

        assert again.info == base.info
        assert torch.equal(again.model(input_ids=ROWS).logits, base.model(input_ids=ROWS).logits)
        assert not again.model.training

    def test_a_metric_that_is_no_number_can_be_written(self, tmp_path):
        RetrainedBase(linear(), info(metrics={"loss": math.nan})).save(tmp_path)

        assert math.isnan(RetrainedBase.load(tmp_path, linear()).info.metrics["loss"])

    def test_a_tokenizer_goes_beside_it(self, tmp_path):
        RetrainedBase(linear(), info()).save(tmp_path, encoder_tokenizer())

        assert (tmp_path / "tokenizer.json").is_file()

    def test_another_module_is_filled(self, tmp_path):
        base = RetrainedBase(linear(), info())
        base.save(tmp_path)
        model = nn.Sequential(nn.Linear(3, 3), nn.Tanh())

        again = RetrainedBase.load(tmp_path, model)

        assert again.model is model
        assert torch.equal(model[0].weight, base.model[0].weight)

    def test_another_module_is_needed(self, tmp_path):
        RetrainedBase(linear(), info()).save(tmp_path)

        with pytest.raises(InputError, match=r"holds no model of transformers \(no config.json\)"):
            RetrainedBase.load(tmp_path)
        with pytest.raises(ResultsError, match=r"of another model: '0.bias' is \(3,\) of float32 there, and \(2,\)"):
            RetrainedBase.load(tmp_path, nn.Sequential(nn.Linear(3, 2)))

    def test_a_class_that_transformers_does_not_have_is_given(self, tmp_path):
        class Own(type(bert())):
            pass

        model = Own(bert().config).eval()
        RetrainedBase(model, info()).save(tmp_path)

        with pytest.raises(InputError, match="of the class 'Own', which transformers does not have"):
            RetrainedBase.load(tmp_path)
        again = RetrainedBase.load(tmp_path, Own(bert().config))
        assert torch.equal(again.model(input_ids=ROWS).logits, model(input_ids=ROWS).logits)

    def test_a_folder_without_a_record_is_refused(self, tmp_path):
        with pytest.raises(ResultsError, match="there is no record of a retrained base at '.*meta_peft.json'"):
            RetrainedBase.load(tmp_path)

    def test_a_damaged_record_is_refused(self, tmp_path):
        RetrainedBase(linear(), info()).save(tmp_path)
        content = json.loads((tmp_path / "meta_peft.json").read_text())
        (tmp_path / "meta_peft.json").write_text(json.dumps(content | {"ranks": 3}))
        with pytest.raises(ResultsError, match="or a damaged one"):
            RetrainedBase.load(tmp_path, linear())
        (tmp_path / "meta_peft.json").write_text(json.dumps(content | {"schema_version": 0}))
        with pytest.raises(ResultsError, match="schema version 0"):
            RetrainedBase.load(tmp_path, linear())

    def test_damaged_and_incomplete_weights_are_refused(self, tmp_path):
        from safetensors.torch import load_file, save_file

        base = RetrainedBase(bert(), info())
        base.save(tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        weights.pop("bert.pooler.dense.weight")
        save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(ResultsError, match=r"lacks 'bert.pooler.dense.weight', which a BertForSequenceClassification has"):
            RetrainedBase.load(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"none")
        with pytest.raises(ResultsError, match="cannot load '.*Use another copy"):
            RetrainedBase.load(tmp_path)

    def test_loading_draws_no_random_numbers(self, tmp_path):
        RetrainedBase(bert(), info()).save(tmp_path)
        before = torch.get_rng_state()

        RetrainedBase.load(tmp_path)

        assert torch.equal(torch.get_rng_state(), before)
