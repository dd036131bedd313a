"""Fine-tuning on responses under a real trainer."""

import math

import pytest
import torch

from spectra.errors import InputError, SpectraWarning
from spectra.training.sdft.backends.function import CallableBackend
from spectra.training.sdft.distiller import ResponseDistiller
from spectra.training.sdft.fine_tuning import response_trainer, tuning_arguments
from spectra.training.sdft.response_examples import response_examples
from spectra.training.sdft.samples import read_training_data
from spectra.training.sdft.tuned_adapter import with_adapter
from spectra.training.sdft.tuning_config import LoraOptions
from tests.pretrained import decoder_tokenizer, save_bert, save_t5
from tests.tuned_responses import ROWS, llama, losses, parameters, trainer


@torch.no_grad()
def loss_by_hand(model, rows):
    """The mean over all response tokens, one row and one token at a time."""
    found = []
    for one in response_examples(decoder_tokenizer(), rows, max_length=32):
        logits = model(one["input_ids"][None]).logits[0]
        for place, label in enumerate(one["labels"].tolist()):
            if label != -100:
                found.append(-torch.log_softmax(logits[place - 1], -1)[label])
    return float(torch.stack(found).mean())


def test_the_loss_is_the_mean_over_response_tokens_of_all_batches_of_a_step(tmp_path):
    expected = loss_by_hand(llama(), ROWS)
    run = trainer(tmp_path, lora=None)
    run.train()
    assert losses(run)[0] == pytest.approx(expected, rel=1e-6)  # float32, 25 tokens; the log has six significant digits


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # TRL's own, of transformers
def test_trls_trainer_has_the_same_first_loss_on_the_same_rows(tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    # TRL glues the texts together and adds the end; the blank line is what a model without chat template is given here.
    rows = Dataset.from_list([{**row, "prompt": f"{row['prompt']}\n\n"} for row in ROWS])
    calm = {"use_cpu": True, "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "report_to": []}
    sizes = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 1, "bf16": False}
    args = SFTConfig(
        str(tmp_path / "trl"), **calm, **sizes, max_length=32, completion_only_loss=True, gradient_checkpointing=False
    )
    theirs = SFTTrainer(llama(), args, train_dataset=rows, processing_class=decoder_tokenizer())
    theirs.train()
    ours = trainer(tmp_path / "ours", lora=None, others={"max_steps": 1})
    ours.train()
    assert losses(ours) == pytest.approx(losses(theirs), rel=1e-5)  # float32 sums in another order


def test_a_selection_that_keeps_all_originals_has_the_loss_curve_of_the_original_data(tmp_path):
    nothing = CallableBackend(lambda texts: [""] * len(texts), name="writes nothing")
    done = ResponseDistiller(nothing, task="text").distill(ROWS)
    assert {record.reason for record in done.records} == {"empty"}
    ours, vanilla = trainer(tmp_path / "a", data=done), trainer(tmp_path / "b", data=ROWS)
    ours.train()
    vanilla.train()
    assert losses(ours) == losses(vanilla)
    assert torch.equal(parameters(ours.model), parameters(vanilla.model))


def test_other_responses_have_another_loss_curve(tmp_path):
    other = trainer(tmp_path, data=[{**row, "completion": "the film"} for row in ROWS], lora=None)
    other.train()
    assert losses(other)[0] != pytest.approx(loss_by_hand(llama(), ROWS), rel=1e-3)


def test_only_the_adapter_learns_and_the_loss_falls(tmp_path):
    model = llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = trainer(tmp_path, model=model, learning_rate=0.05, num_train_epochs=8)
    run.train()
    assert losses(run)[-1] < losses(run)[0]
    base = {name.replace(".base_layer", ""): value for name, value in run.model.get_base_model().state_dict().items()}
    assert all(torch.equal(base[name], value) for name, value in before.items())


def test_a_run_that_stops_goes_on_exactly(tmp_path):
    def run():
        return trainer(tmp_path, learning_rate=0.01, others={"save_strategy": "epoch"})

    whole = run()
    whole.train()
    again = run()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert torch.equal(parameters(again.model), parameters(whole.model))
    assert losses(again) == losses(whole)


def test_the_schedule_is_half_a_cosine_from_the_first_step_on(tmp_path):
    run = trainer(tmp_path, lora=None, num_train_epochs=4)
    run.train()
    rates = [entry["learning_rate"] for entry in run.state.log_history if "learning_rate" in entry]
    assert rates == pytest.approx([1e-4 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)])


def test_diagnostics_are_at_work_by_one_word_each(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    # Wide enough for a fit of its spectra; dropout that is a module.
    model = GPT2LMHeadModel(
        GPT2Config(n_embd=64, n_layer=2, n_head=2, vocab_size=17, n_positions=32, bos_token_id=3, eos_token_id=3)
    )
    run = trainer(tmp_path, model=model, tempbalance="recommended", guided_dropout={"transformer.h.0.mlp.dropout": 0.5})
    run.train()
    assert any("tempbalance" in name for entry in run.state.log_history for name in entry)
    assert (tmp_path / "guided_dropout.json").is_file()


def test_evaluation_takes_data_of_the_same_forms(tmp_path):
    run = trainer(tmp_path, lora=None, eval_data=read_training_data(ROWS[:2]))
    assert (
        response_trainer(llama(), decoder_tokenizer(), ROWS, tmp_path, bf16=False, eval_data=ROWS).args.eval_strategy == "epoch"
    )
    assert run.evaluate()["eval_loss"] == pytest.approx(loss_by_hand(llama(), ROWS[:2]), rel=1e-5)  # float32


def test_what_the_model_cannot_take_is_cut_off(tmp_path):
    rows = [{"prompt": "the film", "completion": "very " * 40}]
    with pytest.warns(SpectraWarning, match="training data: of 1 examples, 1 loses what comes after 32 tokens"):
        run = trainer(tmp_path, data=rows, lora=None)
    assert len(run.train_dataset[0]["input_ids"]) == 32


def test_arguments_take_the_place_of_the_options_but_for_the_folder(tmp_path):
    given = tuning_arguments(tmp_path / "a", {"bf16": False}, use_cpu=True, warmup_steps=3, learning_rate=2e-3)
    run = response_trainer(llama(), decoder_tokenizer(), ROWS, tmp_path / "b", arguments=given)
    assert (run.args.learning_rate, run.args.warmup_steps, run.args.output_dir) == (2e-3, 3, str(tmp_path / "b"))
    assert given.output_dir == str(tmp_path / "a")
    with pytest.raises(
        InputError, match=r"learning_rate: the option is 0\.001 and that of arguments 0\.002\. Give it in one place"
    ):
        response_trainer(llama(), decoder_tokenizer(), ROWS, tmp_path, arguments=given, learning_rate=1e-3)


def test_arguments_are_the_references_unless_told_otherwise(tmp_path):
    made = tuning_arguments(tmp_path, "gsm8k", use_cpu=True, bf16=False)
    assert (made.learning_rate, made.lr_scheduler_type, made.warmup_steps, made.num_train_epochs) == (1e-4, "cosine", 0, 5)
    assert (made.train_batch_size, made.gradient_accumulation_steps, made.seed) == (2, 4, 42)


def test_an_adapter_that_is_there_is_trained_and_no_other_one_is_added(tmp_path):
    model = with_adapter(llama(), LoraOptions(rank=2), seed=0)
    assert trainer(tmp_path, model=model).model is model
    with pytest.raises(InputError, match="lora: the model has an adapter already"):
        trainer(tmp_path, model=model, lora={"rank": 4})


def test_models_that_cannot_be_trained_so_are_refused(tmp_path):
    from transformers import AutoModelForSeq2SeqLM, BertForMaskedLM

    others = {
        "T5ForConditionalGeneration": AutoModelForSeq2SeqLM.from_pretrained(save_t5(tmp_path / "t5")),
        "BertForMaskedLM": BertForMaskedLM.from_pretrained(save_bert(tmp_path / "bert")),
    }
    for name, model in others.items():
        with pytest.raises(InputError, match=f"a {name} does not continue texts"):
            trainer(tmp_path, model=model)
    with pytest.raises(InputError, match="no parameter of the model has requires_grad"):
        trainer(tmp_path, model=llama().requires_grad_(False), lora=None)


def test_data_that_cannot_be_is_refused_before_the_model_is_changed(tmp_path):
    model = llama()
    with pytest.raises(InputError, match="no form of training data"):
        trainer(tmp_path, model=model, data=[{"text": "the film"}])
    assert not any("lora" in name for name, _ in model.named_parameters())
