import pytest

from spectra.errors import InputError, ResultsError
from spectra.policies.dropout_plan import dropout_plan, load_dropout_plan
from spectra.policies.plan import load_plan
from spectra.results.fisher_store import load_fisher
from spectra.training.recipe.assembly.assembling import assembled
from spectra.training.recipe.assembly.preparing import DROPOUT_PLAN, FISHER, PRETRAINING_FISHER, RANK_PLAN
from tests.assembled_runs import classifier

GUIDED = {"p_upper": 0.3, "rule": "linear"}


def rates(run):
    """What the callback of a run will set."""
    from spectra.training.guided_dropout import GuidedDropoutCallback

    found = [one for one in run.trainer.callback_handler.callbacks if isinstance(one, GuidedDropoutCallback)]
    return found[0].guided.rates if found else None


def with_dropout(folder, *, head="BertModel", **part):
    return classifier(folder, head=head, diagnostics={"guided_dropout": part})


def test_drop_probabilities_are_those_of_the_fisher_in_the_folder(tmp_path):
    made = with_dropout(tmp_path, **GUIDED)
    run = assembled(made, tmp_path / "run")
    fisher = load_fisher(tmp_path / "run" / FISHER)
    assert rates(run) == dropout_plan(fisher, **GUIDED).rates == load_dropout_plan(tmp_path / "run" / DROPOUT_PLAN).rates
    assert (fisher.info.task, fisher.info.model, fisher.info.num_samples) == ("sequence-classification", "bert", 16)
    assert "drawn at random" in fisher.info.notes[0]
    assert "The drop probabilities are of the Fisher of the run's own task" in run.notes[-1]
    assert list(run.seconds) == ["fisher"]
    assert not list((tmp_path / "run" / "diagnostics").glob("*partial*"))


def test_a_run_that_goes_on_takes_what_is_there(tmp_path):
    made = with_dropout(tmp_path, **GUIDED, samples=5)
    first = assembled(made, tmp_path / "run")
    assert load_fisher(tmp_path / "run" / FISHER).info.num_samples == 5
    plan = tmp_path / "run" / DROPOUT_PLAN
    plan.write_text(plan.read_text().replace("seed: 0", "seed: 9"))
    again = assembled(made, tmp_path / "run")
    assert rates(again) == rates(first)
    assert "seed: 9" in plan.read_text()
    assert not again.seconds


def test_a_pretrained_model_is_measured_by_its_own_task_as_published(tmp_path):
    run = assembled(with_dropout(tmp_path, head="BertForMaskedLM", **GUIDED), tmp_path / "run")
    assert load_fisher(tmp_path / "run" / PRETRAINING_FISHER).info.task == "masked-lm"
    assert not (tmp_path / "run" / FISHER).exists()
    assert "by what the model was pretrained for, as published" in run.notes[-1]
    assert all(site.startswith("bert.") for site in rates(run))


def test_a_plan_that_is_given_is_copied_and_made_a_control(tmp_path):
    assembled(with_dropout(tmp_path, **GUIDED), tmp_path / "run")
    plan = str(tmp_path / "run" / DROPOUT_PLAN)
    guided = assembled(with_dropout(tmp_path, plan=plan), tmp_path / "guided")
    shuffled = assembled(with_dropout(tmp_path, plan=plan, control="shuffled", seed=4), tmp_path / "shuffled")
    assert rates(guided) == load_dropout_plan(plan).rates
    assert rates(shuffled) == load_dropout_plan(plan).with_control("shuffled", seed=4).rates != rates(guided)
    assert load_dropout_plan(tmp_path / "shuffled" / DROPOUT_PLAN).control == "shuffled"
    assert not (tmp_path / "guided" / FISHER).exists()


def test_rates_alone_are_applied_but_are_no_plan_to_make_a_control_of(tmp_path):
    file = tmp_path / "rates.yaml"
    file.write_text("rates: {bert.embeddings.dropout: 0.25}\n")
    assert rates(assembled(with_dropout(tmp_path, plan=str(file)), tmp_path / "run")) == {"bert.embeddings.dropout": 0.25}
    made = with_dropout(tmp_path, plan=str(file), control="uniform")
    with pytest.raises(InputError, match=r"guided_dropout\.control: .* holds rates alone"):
        assembled(made, tmp_path / "other")


@pytest.mark.parametrize("prepare", [True, False])
def test_a_plan_that_is_none_is_refused_also_by_those_who_only_look(tmp_path, prepare):
    (tmp_path / "plan.yaml").write_text("policy: something\n")
    with pytest.raises(ResultsError, match="plan"):
        assembled(with_dropout(tmp_path, plan=str(tmp_path / "plan.yaml")), tmp_path / "run", prepare=prepare)


@pytest.mark.parametrize(("ranks", "metric"), [("alpha", "alpha"), ("fisher", "fisher_trace")])
def test_ranks_are_planned_with_the_given_mean_and_kept(tmp_path, ranks, metric):
    made = classifier(tmp_path, adapter={"name": "lora", "rank": 3, "ranks": ranks})
    run = assembled(made, tmp_path / "run")
    plan = load_plan(tmp_path / "run" / RANK_PLAN)
    assert (plan.settings["metric"], plan.settings["mean_rank"]) == (metric, 3)
    adapted = {name: rank for name, rank in plan.values.items() if rank}
    found = {
        name.removeprefix("base_model.model."): module.r["default"]
        for name, module in run.model.named_modules()
        if hasattr(module, "lora_A")
    }
    assert found == adapted
    assert ("ranks" in run.seconds, "fisher" in run.seconds) == (True, ranks == "fisher")
    assert any("The ranks are of the Fisher" in note for note in run.notes) == (ranks == "fisher")
    by_file = classifier(tmp_path, adapter={"name": "lora", "rank": 3, "ranks": str(tmp_path / "run" / RANK_PLAN)})
    assembled(by_file, tmp_path / "given")
    assert load_plan(tmp_path / "given" / RANK_PLAN) == plan


def test_a_plan_of_another_policy_has_no_ranks(tmp_path):
    from spectra.policies.plan import plan

    made = classifier(tmp_path, adapter={"name": "lora", "ranks": str(tmp_path / "rates.yaml")})
    plan(tmp_path / "bert").save(tmp_path / "rates.yaml")
    with pytest.raises(InputError, match=r"adapter\.ranks: .* is a plan of another policy"):
        assembled(made, tmp_path / "run")


def test_what_depends_on_the_speed_of_the_machine_is_said(tmp_path):
    made = classifier(
        tmp_path, diagnostics={"tempbalance": {"interval": 5}, "alphadecay": True}, training={"weight_decay": 0.1}
    )
    notes = [note for note in assembled(made, tmp_path / "run").notes if "speed" in note]
    assert len(notes) == 1
    assert "diagnostics.alphadecay.interval" in notes[0]


def test_those_who_only_look_measure_and_write_nothing(tmp_path):
    made = classifier(
        tmp_path,
        adapter={"name": "lora", "rank": 2, "ranks": "fisher", "targets": None},
        diagnostics={"guided_dropout": GUIDED, "fisher": True},
    )
    run = assembled(made, tmp_path / "run", prepare=False)
    assert rates(run) is None
    assert [file for file in (tmp_path / "run").rglob("*") if file.is_file()] == []
    assert not run.seconds
