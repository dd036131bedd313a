"""TempBalance under real trainers: split groups, exact resume, its numbers in the log, and TRL's trainer."""

import json

import pytest
import torch

from spectra.errors import InputError, SpectraWarning
from spectra.policies.presets import scale_policy
from spectra.results.scale_log import load_scale_log
from spectra.training import TempBalance, TempBalanceCallback, split_by_policy

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 96}
OPTIONS = {"policy": "emnlp2024-glue", "interval": 2}


def bert(seed=0):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    model = BertForSequenceClassification(BertConfig(vocab_size=40, max_position_embeddings=16, **SIZES))
    with torch.no_grad():
        for number, layer in enumerate(model.bert.encoder.layer):
            for weight in (p for p in layer.parameters() if p.dim() == 2):
                weight *= torch.rand_like(weight) ** number
    return model


def data():
    generator = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(5, 40, (6,), generator=generator), "labels": n % 2} for n in range(32)]


class Watch:
    """Multipliers after every step; kept in a list of its own, as a trainer copies callbacks."""

    def __init__(self, seen):
        from transformers import TrainerCallback

        class Callback(TrainerCallback):
            def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
                groups = getattr(optimizer, "optimizer", optimizer).param_groups
                seen.append({group["spectra_unit"]: group["lr"] for group in groups})

        self.callback = Callback()


def trainer_of(folder, model=None, **arguments):
    from transformers import Trainer, TrainingArguments

    options = {
        "max_steps": 8,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "save_strategy": "steps",
        "save_steps": 4,
    }
    args = TrainingArguments(
        output_dir=str(folder),
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
        **{**options, **arguments},
    )
    return Trainer(bert() if model is None else model, args, train_dataset=data())


def test_the_trainer_trains_as_a_plain_loop_with_tempbalance_does(tmp_path):
    trainer = trainer_of(tmp_path)
    callback = TempBalanceCallback(OPTIONS).attach(trainer)
    rates = []
    trainer.add_callback(Watch(rates).callback)
    trainer.train()
    assert callback.balance.num_updates == 5  # before the first step and after each second one
    units = {f"bert.encoder.layer.{number}" for number in range(3)}
    assert set(callback.balance.scales) == units
    assert set(rates[0]) == units | {""}
    # What the scheduler sees is its own value, the same for all groups.
    assert all(len(set(step.values())) == 1 for step in rates)

    plain = trainer_of(tmp_path / "plain")
    plain.train()
    trained, untouched = trainer.model.state_dict(), plain.model.state_dict()
    assert not torch.equal(
        trained["bert.encoder.layer.0.output.dense.weight"], untouched["bert.encoder.layer.0.output.dense.weight"]
    )


@pytest.mark.parametrize("restore", [False, True], ids=["new callback", "callback restored by the trainer"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, restore):
    whole = trainer_of(tmp_path / "whole")
    callback = TempBalanceCallback(OPTIONS, write_log=True).attach(whole)
    whole.train()

    again = trainer_of(tmp_path / "again", bert(seed=1), restore_callback_states_from_checkpoint=restore)
    resumed = TempBalanceCallback(OPTIONS, write_log=True).attach(again)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    if not restore:
        assert resumed.balance.scales == callback.balance.scales
        assert resumed.balance.num_updates == callback.balance.num_updates
    logs = [load_scale_log(tmp_path / name / "tempbalance.jsonl").records for name in ("whole", "again")]
    assert [(r.step, r.scales) for r in logs[1]] == [(r.step, r.scales) for r in logs[0] if r.step > 4]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_scores_multipliers_and_cost_are_in_the_log(tmp_path):
    trainer = trainer_of(tmp_path)
    reported = []

    from transformers import TrainerCallback

    class Report(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            reported.append(dict(logs))

    trainer.add_callback(Report())
    callback = TempBalanceCallback(OPTIONS).attach(trainer)
    trainer.train()
    for logs in (reported[-2], trainer.state.log_history[-2]):
        assert logs["tempbalance/scale/bert.encoder.layer.2"] == callback.balance.scales["bert.encoder.layer.2"]
        assert {"tempbalance/alpha_mean", "tempbalance/alpha_std", "tempbalance/share_of_time"} <= set(logs)
    assert (
        json.loads((tmp_path / "checkpoint-8" / "trainer_state.json").read_text())["log_history"][-1]["tempbalance/updates"]
        == 5
    )


def attach_both(trainer, decays="alphadecay"):
    """Learning rates by block, weight decays by layer: two partitions of the parameters."""
    rates = TempBalanceCallback(OPTIONS, write_log=True).attach(trainer)
    return rates, TempBalanceCallback(policy=decays, interval=3, write_log=True).attach(trainer)


def test_rates_of_blocks_and_decays_of_layers_are_balanced_together_as_in_a_plain_loop(tmp_path):
    from accelerate.utils import set_seed

    trainer = trainer_of(tmp_path, weight_decay=0.1, lr_scheduler_type="constant", max_grad_norm=0.0)
    rates, decays = attach_both(trainer)
    order = []
    trainer.add_callback(Watch(order).callback)
    trainer.train()
    assert set(rates.balance.scales) == {f"bert.encoder.layer.{number}" for number in range(3)}
    assert len(set(decays.balance.scales.values())) > 3
    assert {file.name for file in tmp_path.glob("*.jsonl")} == {"tempbalance.jsonl", "alphadecay.jsonl"}
    assert len(trainer.optimizer.param_groups) > 4

    model = bert()
    plain = trainer_of(tmp_path / "plain", model, weight_decay=0.1)
    optimizer = plain.create_optimizer()  # with the groups of a trainer: no decay for biases and norms
    balances = [TempBalance(model, optimizer, one.config) for one in (rates, decays)]
    set_seed(0)
    model.train()
    for step, batch in enumerate(plain.get_train_dataloader()):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
        for balance in balances:
            balance.step()
        if step == 7:
            break
    for balance, callback in zip(balances, (rates, decays), strict=True):
        assert balance.scales == callback.balance.scales
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize("restore", [False, True], ids=["new callbacks", "callbacks restored by the trainer"])
@pytest.mark.parametrize(
    "decays", ["alphadecay", scale_policy("emnlp2024-glue", target="weight_decay")], ids=["own units", "same units"]
)
def test_two_policies_are_resumed_exactly(tmp_path, restore, decays):
    whole = trainer_of(tmp_path / "whole", weight_decay=0.1, save_steps=2)
    attach_both(whole, decays)
    whole.train()
    again = trainer_of(
        tmp_path / "again", bert(seed=1), weight_decay=0.1, restore_callback_states_from_checkpoint=restore, save_steps=2
    )
    attach_both(again, decays)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    for kind in ("tempbalance", "alphadecay"):
        logs = [load_scale_log(tmp_path / name / f"{kind}.jsonl").records for name in ("whole", "again")]
        assert [(r.step, r.scales) for r in logs[1]] == [(r.step, r.scales) for r in logs[0] if r.step > 4]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


@pytest.mark.parametrize("restore", [False, True], ids=["new callbacks", "callbacks restored by the trainer"])
def test_numbers_of_both_reach_the_reports_of_a_resumed_run(tmp_path, restore):
    trainer = trainer_of(tmp_path, weight_decay=0.1, max_steps=4)
    attach_both(trainer)
    trainer.train()
    again = trainer_of(tmp_path / "again", weight_decay=0.1, restore_callback_states_from_checkpoint=restore)
    reported = []

    from transformers import TrainerCallback

    class Report(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            reported.append(dict(logs))

    again.add_callback(Report())
    attach_both(again)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert {"tempbalance/scale_max", "alphadecay/scale_max"} <= set(reported[0])


def test_a_policy_that_was_changed_on_resume_is_refused_in_words_and_taken_if_asked_for(tmp_path):
    whole = trainer_of(tmp_path, max_steps=4)
    first = TempBalanceCallback(OPTIONS).attach(whole)
    whole.train()
    changed = scale_policy("emnlp2024-glue", tau=5.0)
    trainer = trainer_of(tmp_path / "refused")
    TempBalanceCallback(OPTIONS, policy=changed).attach(trainer)
    with pytest.raises(InputError, match=r"\('tau' changed\).* or pass strict=False, to TempBalance or TempBalanceCallback"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    trainer = trainer_of(tmp_path / "taken")
    callback = TempBalanceCallback(OPTIONS, policy=changed, strict=False).attach(trainer)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert callback.balance.num_updates == first.balance.num_updates + 2
    assert callback.balance.policy.tau == 5.0


def test_units_that_were_changed_on_resume_are_refused_with_what_to_remove(tmp_path):
    whole = trainer_of(tmp_path, max_steps=4)
    TempBalanceCallback(OPTIONS).attach(whole)
    whole.train()
    options = {**OPTIONS, "policy": scale_policy("emnlp2024-glue", unit="layer")}
    trainer = trainer_of(tmp_path / "refused")
    TempBalanceCallback(options).attach(trainer)
    with pytest.raises(InputError, match=r"groups were split otherwise.* without the checkpoint's optimizer\.pt"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    (tmp_path / "checkpoint-4" / "optimizer.pt").unlink()
    trainer = trainer_of(tmp_path / "taken")
    callback = TempBalanceCallback(options, strict=False).attach(trainer)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert callback.balance.num_steps == 8


def test_an_optimizer_made_by_hand_is_split_before_the_scheduler(tmp_path):
    from transformers import Trainer

    model = bert()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    trainer = Trainer(model, trainer_of(tmp_path, model).args, train_dataset=data(), optimizers=(optimizer, None))
    callback = TempBalanceCallback(OPTIONS).attach(trainer)
    trainer.train()
    assert len(optimizer.param_groups) == 4
    assert callback.balance.num_updates == 5


def test_a_callback_that_was_not_attached_is_refused(tmp_path):
    trainer = trainer_of(tmp_path)
    trainer.add_callback(TempBalanceCallback(OPTIONS))
    with pytest.raises(InputError, match=r"scheduler"):
        trainer.train()


def test_a_checkpoint_of_a_run_without_it_is_refused_in_words(tmp_path):
    trainer_of(tmp_path, max_steps=4).train()
    trainer = trainer_of(tmp_path)
    TempBalanceCallback(OPTIONS).attach(trainer)
    with pytest.raises(InputError, match="group"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


def test_what_is_no_trainer_and_what_is_no_policy_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="expected a transformers Trainer, got NoneType"):
        TempBalanceCallback(OPTIONS).attach(None)
    with pytest.raises(InputError, match="Did you mean 'recommended'"):
        TempBalanceCallback(policy="recomended")


def test_a_log_of_another_run_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / "tempbalance.jsonl").write_text("{}\n")
    trainer = trainer_of(tmp_path, max_steps=1)
    callback = TempBalanceCallback(OPTIONS, write_log=True).attach(trainer)
    with pytest.warns(SpectraWarning, match="no log is written: .*is no log of scales"):
        trainer.train()
    assert callback.balance.num_updates == 1


def test_a_trainer_with_a_scheduler_is_refused(tmp_path):
    trainer = trainer_of(tmp_path)
    trainer.create_optimizer_and_scheduler(4)
    with pytest.raises(InputError, match=r"has a scheduler already.*split_by_policy"):
        TempBalanceCallback(OPTIONS).attach(trainer)


def test_groups_split_by_hand_serve_a_trainer_with_its_own_scheduler(tmp_path):
    from transformers import Trainer

    model = bert()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    split_by_policy(optimizer, model, OPTIONS)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    callback = TempBalanceCallback(OPTIONS)
    args = trainer_of(tmp_path, model).args
    Trainer(model, args, train_dataset=data(), optimizers=(optimizer, scheduler), callbacks=[callback]).train()
    assert callback.balance.num_updates == 5


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # TRL's own, of transformers
def test_trls_trainer_tunes_adapters_with_it(tmp_path):
    datasets, peft, trl = (pytest.importorskip(name) for name in ("datasets", "peft", "trl"))
    from transformers import GPT2Config, GPT2LMHeadModel

    from tests.pretrained import VOCABULARY, decoder_tokenizer

    torch.manual_seed(0)
    tokenizer = decoder_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    model = GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=2, n_head=2, n_positions=32, vocab_size=len(VOCABULARY)))
    args = trl.SFTConfig(
        output_dir=str(tmp_path), max_steps=4, per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True,
        learning_rate=1e-2, max_length=16, bf16=False,
    )  # fmt: skip
    texts = datasets.Dataset.from_dict({"text": ["a good film", "the film was bad", "not very good"] * 4})
    adapter = peft.LoraConfig(r=2, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    trainer = trl.SFTTrainer(model, args, train_dataset=texts, processing_class=tokenizer, peft_config=adapter)
    callback = TempBalanceCallback(OPTIONS, policy="recommended").attach(trainer)
    trainer.train()
    assert isinstance(callback.balance, TempBalance)
    assert set(callback.balance.scales) == {"transformer.h.0", "transformer.h.1"}
    assert callback.balance.num_updates == 3
