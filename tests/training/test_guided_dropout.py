"""Guided dropout in real training runs: the rates are at work, go again, and lie beside every checkpoint."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from spectra.errors import InputError, ResultsError
from spectra.fisher.sites import find_sites
from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.dropout_presets import published_bert_base
from spectra.training import GuidedDropout, GuidedDropoutCallback
from tests.dropout_models import batch_of, tiny
from tests.fishers import fisher_of, squared_gradients

MLP, ATTENTION = "bert.encoder.layer.0.output.dropout", "bert.encoder.layer.1.attention.self.dropout"
RATES = {MLP: 0.25, ATTENTION: 0.0, "bert.encoder.layer.0.attention.output.dropout": 1.0 / 3.0}
PLAN = DropoutPlan(
    rates=RATES,
    scores=dict.fromkeys(RATES, 1.0),
    roles=dict.fromkeys(RATES, "mlp_output"),
    kinds=dict.fromkeys(RATES, "module"),
    rule="rank",
    p_upper=0.1,
    p_lower=0.0,
    mean_p=None,
    p_cap=0.5,
    control="guided",
    seed=0,
    aggregate="param_mean",
    model="tiny",
    fisher="",
    version="0.1.0",
)


def rates_of(model):
    return {site.name: site.drop_prob for site in find_sites(model)}


@pytest.fixture
def bert():
    return tiny("bert")


@pytest.fixture
def trainer(bert, tmp_path):
    """A trainer of four steps, a checkpoint every second one; ``seen`` holds the rates at each step."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Watch(TrainerCallback):
        def __init__(self):
            self.seen, self.stop_at = [], -1

        def on_step_end(self, args, state, control, model, **kwargs):
            self.seen.append({name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)})
            if state.global_step == self.stop_at:
                raise RuntimeError("broke off")

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 40, (8, 6), generator=generator)
    data = [{"input_ids": row, "labels": torch.tensor(i % 2)} for i, row in enumerate(tokens)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=4, save_steps=2, per_device_train_batch_size=2, seed=0,
        use_cpu=True, report_to="none", disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(bert, arguments, train_dataset=data, callbacks=[watch := Watch()])
    trainer.watch = watch
    return trainer


def test_the_rates_of_the_plan_are_at_work_in_training_and_the_old_ones_afterwards(trainer, bert, tmp_path):
    old = rates_of(bert)
    trainer.add_callback(GuidedDropout(PLAN).callback())
    trainer.train()
    assert trainer.watch.seen == [{**old, **RATES}] * 4
    assert rates_of(bert) == old


def test_the_plan_lies_in_the_output_folder_and_in_every_checkpoint_and_reads_again(trainer, tmp_path):
    trainer.add_callback(GuidedDropoutCallback(PLAN))
    trainer.train()
    folders = [tmp_path / "run", *(tmp_path / "run").glob("checkpoint-*")]
    assert len(folders) == 3
    for folder in folders:
        again = GuidedDropout(folder)
        assert (again.plan, again.rates) == (PLAN, RATES)


def test_a_run_that_is_resumed_with_the_plan_of_its_checkpoint_goes_on_with_the_rates(trainer, bert, tmp_path):
    trainer.add_callback(GuidedDropoutCallback(PLAN))
    trainer.train()
    trainer.pop_callback(GuidedDropoutCallback)
    checkpoint = tmp_path / "run" / "checkpoint-2"
    trainer.watch.seen.clear()
    old = rates_of(bert)
    trainer.add_callback(GuidedDropoutCallback(checkpoint))
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert trainer.watch.seen == [{**old, **RATES}] * 2
    assert rates_of(bert) == old


def test_rates_stay_after_training_when_asked_and_restore_takes_them_away(trainer, bert):
    old = rates_of(bert)
    callback = GuidedDropout(PLAN).callback(restore=False)
    trainer.add_callback(callback)
    trainer.train()
    assert rates_of(bert) == {**old, **RATES}
    callback.restore()
    assert rates_of(bert) == old


def test_old_rates_come_back_when_training_breaks_off_inside_with(trainer, bert):
    old = rates_of(bert)
    trainer.watch.stop_at = 2
    callback = GuidedDropout(PLAN).callback()
    trainer.add_callback(callback)
    with pytest.raises(RuntimeError, match="broke off"), callback:
        trainer.train()
    assert trainer.watch.seen[-1] == {**old, **RATES}
    assert rates_of(bert) == old
    with pytest.raises(RuntimeError, match="broke off"), GuidedDropout(PLAN).apply(bert):
        trainer.train()
    assert rates_of(bert) == old


def test_a_run_after_one_that_broke_off_ends_with_the_rates_before_both(trainer, bert):
    old = rates_of(bert)
    trainer.add_callback(GuidedDropoutCallback(PLAN))
    trainer.watch.stop_at = 2
    with pytest.raises(RuntimeError, match="broke off"):
        trainer.train()
    assert rates_of(bert) == {**old, **RATES}
    trainer.watch.stop_at = -1
    trainer.train()
    assert rates_of(bert) == old


def test_without_a_checkpoint_folder_no_folder_is_made(trainer, tmp_path):
    callback = GuidedDropoutCallback(PLAN)
    callback.on_save(trainer.args, trainer.state, trainer.control)
    assert not (tmp_path / "run" / "checkpoint-0").exists()


def test_only_the_first_process_writes(trainer, bert, tmp_path):
    callback = GuidedDropoutCallback(PLAN)
    trainer.state.is_world_process_zero = False
    (tmp_path / "run" / "checkpoint-0").mkdir(parents=True)
    callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=bert)
    callback.on_save(trainer.args, trainer.state, trainer.control)
    callback.on_train_end(trainer.args, trainer.state, trainer.control)
    assert list((tmp_path / "run").rglob("*.json")) == []


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
    ],
    ids=["parallel", "compiled", "compiled parallel"],
)
def test_the_callback_reaches_the_model_inside_wrappers(trainer, bert, wrap):
    old, wrapped = rates_of(bert), wrap(bert)
    inside = list(wrapped.state_dict())
    with GuidedDropoutCallback(PLAN) as callback:
        callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=wrapped)
        assert rates_of(bert) == {**old, **RATES}
        assert list(wrapped.state_dict()) == inside
    assert rates_of(bert) == old


def test_bare_rates_are_saved_and_read_again_too(trainer, tmp_path):
    trainer.add_callback(GuidedDropoutCallback(RATES))
    trainer.train()
    again = GuidedDropout(tmp_path / "run" / "checkpoint-4")
    assert (again.plan, again.rates) == (None, RATES)


def test_the_published_rates_can_be_applied_to_bert_base():
    from transformers import BertConfig, BertForSequenceClassification

    with torch.device("meta"):
        model = BertForSequenceClassification(BertConfig())
    old = rates_of(model)
    rates = published_bert_base(old)
    with GuidedDropout(rates).apply(model):
        assert rates_of(model) == {**old, **rates}
        assert model.dropout.p == 0.1  # the 38th, as published
    assert rates_of(model) == old


def test_a_saved_plan_is_that_of_the_plan_itself(tmp_path):
    GuidedDropout(PLAN).save(tmp_path / "ours.json")
    PLAN.save(tmp_path / "plan.json")
    assert (tmp_path / "ours.json").read_bytes() == (tmp_path / "plan.json").read_bytes()
    assert GuidedDropout(str(tmp_path / "plan.json")).plan == PLAN
    with pytest.raises(ResultsError, match=r"ours.json' exists\. Choose another file, or pass force=True"):
        GuidedDropout(replace(PLAN, seed=3)).save(tmp_path / "ours.json")
    GuidedDropout(replace(PLAN, seed=3)).save(tmp_path / "ours.json", force=True)
    assert GuidedDropout(tmp_path / "ours.json").plan.seed == 3


@pytest.mark.parametrize("content", ["", "[1]", '{"rates": [0.1]}', '{"rates": {"a": 0.1}, "rule": "rank"}'])
def test_a_file_that_is_no_plan_is_refused(tmp_path, content):
    (tmp_path / "guided_dropout.json").write_text(content)
    with pytest.raises(ResultsError, match=r"guided_dropout\.json' (cannot be read as a dropout plan|has schema_version)"):
        GuidedDropout(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"no file '.*guided_dropout\.json'. Make one with dropout_plan"):
        GuidedDropout(tmp_path)


def test_bare_rates_are_not_written_over_either(tmp_path):
    GuidedDropout(RATES).save(tmp_path / "new" / "rates.json")
    with pytest.raises(ResultsError, match=r"rates.json' exists"):
        GuidedDropout(RATES).save(tmp_path / "new" / "rates.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write to '.*file'"):
        GuidedDropout(PLAN).save(tmp_path / "file" / "plan.json")


def test_what_is_no_rate_is_refused_before_any_model(tmp_path):
    with pytest.raises(InputError, match=r"plan: 1 of 1 are no drop probabilities in \[0, 1\): 'a' \('0.1'\)"):
        GuidedDropout({"a": "0.1"})
    with pytest.raises(InputError, match="plan: there is no site"):
        GuidedDropout({})
    with pytest.raises(InputError, match="plan: expected drop probabilities by name of the site, got list"):
        GuidedDropout([0.1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"rates": {"a": NaN}}', r"1 of 1 are no drop probabilities in \[0, 1\): 'a' \(nan\)"),
        ('{"rates": {}}', "there is no site"),
    ],
)
def test_rates_of_a_file_that_are_none_are_refused_by_the_name_of_the_file(tmp_path, content, message):
    (tmp_path / "guided_dropout.json").write_text(content)
    for place in (tmp_path, tmp_path / "guided_dropout.json"):
        with pytest.raises(InputError, match=rf"guided_dropout\.json', rates: {message}"):
            GuidedDropout(place)


def test_a_fisher_is_no_plan_and_the_message_says_how_to_make_one(tmp_path):
    fisher_of(squared_gradients()).save(tmp_path / "fisher.safetensors")
    with pytest.raises(ResultsError, match=r"fisher.json' is a Fisher\. Make a plan of it with spectra\.dropout_plan\."):
        GuidedDropout(tmp_path / "fisher.json")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers for it
@pytest.mark.parametrize("prefix", ["", "base_model.model."], ids=["base model's names", "peft's names"])
def test_a_plan_fits_a_model_with_adapters_by_either_names(trainer, bert, prefix):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(bert, LoraConfig(r=2, lora_dropout=0.2, target_modules=["query"], task_type="SEQ_CLS"))
    old = rates_of(adapted)
    assert "base_model.model." + MLP in old
    trainer.model = trainer.model_wrapped = adapted
    trainer.add_callback(GuidedDropout({prefix + name: rate for name, rate in RATES.items()}).callback(verify=batch_of(bert)))
    trainer.train()
    at_work = {name: rate for name, rate in old.items() if "classifier.original" not in name}
    at_work |= {"base_model.model." + name: rate for name, rate in RATES.items()}
    assert [{name: seen[name] for name in at_work} for seen in trainer.watch.seen] == [at_work] * 4
    assert rates_of(adapted) == old


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers for it
def test_a_plan_that_fits_neither_an_adapted_model_nor_its_base_is_refused(bert):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(bert, LoraConfig(r=2, target_modules=["query"]))
    with pytest.raises(InputError, match="1 of 1 names are no dropout sites of BertForSequenceClassification: 'layer'"):
        GuidedDropout({"layer": 0.1}).apply(adapted)


def test_sites_are_tried_when_training_begins(trainer):
    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout, self.dropout_prob = nn.Dropout(0.1), 0.1

        def forward(self, x):
            return nn.functional.dropout(self.dropout(x), 0.0 * self.dropout_prob, self.training)

    callback = GuidedDropoutCallback({"dropout_prob": 0.3}, verify=torch.ones(4, 8))
    with pytest.raises(InputError, match="'dropout_prob' has no effect in training"):
        callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=Silent())


@pytest.mark.parametrize("verify", [True, False])
def test_a_word_is_no_batch_to_verify_on(bert, verify):
    guided = GuidedDropout(PLAN)
    for call in (lambda: guided.apply(bert, verify=verify), lambda: guided.callback(verify=verify)):
        with pytest.raises(InputError, match=f"verify: pass a batch to try the sites on, got {verify}"):
            call()


def test_a_plan_of_another_model_is_refused(bert):
    with pytest.raises(InputError, match="1 of 1 names are no dropout sites of BertForSequenceClassification: 'model.layers.0"):
        GuidedDropout({"model.layers.0.self_attn.attention_dropout": 0.1}).apply(bert)


def test_without_transformers_rates_can_be_applied_and_the_message_says_so():
    code = """
import sys
sys.modules["transformers"] = None
from torch import nn
from spectra.training import apply_rates
with apply_rates(nn.Sequential(nn.Dropout(0.1)), {"0": 0.2}):
    print("applied")
from spectra.training import GuidedDropout
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "applied\n"
    assert done.stderr.splitlines()[-1] == (
        "spectra.errors.MissingPackageError: GuidedDropout needs transformers and accelerate: "
        'pip install "spectra-nn[train]". apply_rates does without them.'
    )
