"""Recipes with a fault: each is refused with its place and a way out."""

import re

import pytest

from spectra.errors import InputError
from spectra.training.recipe import parse_recipe

BAD = {
    "a number is text": (
        "training:\n  learning_rate: fast\n",
        "training.learning_rate (line 6): expected a number above 0, got 'fast'.",
    ),
    "a number is in quotes": (
        "training: {weight_decay: '0.1'}",
        "training.weight_decay (line 5): expected a number of at least 0",
    ),
    "a switch is yes": ("training: {bf16: yes}", "training.bf16 (line 5): expected true or false, got 'yes'."),
    "a count is a fraction": ("data: {train: a.txt, train_size: 0.5}", "data.train_size (line 5): expected a whole number"),
    "a count is true": ("adapter: {name: lora, rank: true}", "adapter.rank (line 5): expected a whole number of at least 1"),
    "a part is a number": ("training: 3", "training (line 5): expected options by name, got 3."),
    "a list holds numbers": ("adapter: {name: lora, targets: [3]}", "adapter.targets (line 5): expected names of modules"),
    "an empty list": ("adapter: {name: lora, targets: []}", "adapter.targets (line 5): expected names of modules"),
    "a seed that NumPy has not": ("seed: 4294967296", "seed (line 5): expected a whole number from 0 to 4294967295"),
    "an empty word": ("name: ' '", "name (line 5): expected a word, or null, got ' '."),
    "trackers are a number": ("report_to: 3", "report_to (line 5): expected names of trackers, or none, got 3."),
    "eight in octal": ("seed: 010", "seed (line 5): expected a whole number from 0 to 4294967295, got '010'."),
    "a date": ("seed: 2020-01-01", "seed (line 5): expected a whole number from 0 to 4294967295, got '2020-01-01'."),
    "an infinite rate": (
        "training: {learning_rate: .inf}",
        "training.learning_rate (line 5): expected a number above 0, got inf.",
    ),
    "an unknown key": ("trainning: {}", "trainning (line 5): unknown option. Did you mean 'training'? Known: model, data,"),
    "an unknown option": (
        "training: {leraning_rate: 1}",
        "training.leraning_rate (line 5): unknown option. Did you mean 'learning_rate'?",
    ),
    "an argument of the trainer": ("training: {adam_beta2: 0.98}", "Others of TrainingArguments go under training.arguments."),
    "an option at the top": (
        "learning_rate: 1e-4",
        "learning_rate (line 5): unknown option. A recipe has it as training.learning_rate.",
    ),
    "an option of another part": (
        "model: {name: demo, rank: 3}",
        "model.rank (line 5): unknown option. A recipe has it as adapter.rank.",
    ),
    "a word of another tool": ("lora_r: 8", "lora_r (line 5): unknown option. A recipe has it as adapter.rank."),
    "warm-up by another word": ("training: {warmup_ratio: 0.1}", "unknown option. A recipe has it as training.warmup_steps."),
    "an unknown task": (
        "model: {name: demo, task: classification}",
        "model.task (line 5): expected one of causal-lm, seq2seq,",
    ),
    "an unknown schedule": ("training: {lr_scheduler_type: cosin}", "got 'cosin'. Did you mean 'cosine'?"),
    "steps and epochs": (
        "training: {max_steps: 3, num_train_epochs: 2}",
        "training.max_steps (line 5): training ends by these or by num_train_epochs.",
    ),
    "steps without their strategy": (
        "training: {save_steps: 3}",
        "training.save_steps (line 5): it counts with save_strategy 'steps' only, got 'epoch'.",
    ),
    "a best state that is not saved": (
        "training: {metric_for_best_model: f1, save_strategy: no}",
        "training.metric_for_best_model (line 5): the best state needs",
    ),
    "the side of no metric": (
        "training: {greater_is_better: true}",
        "training.greater_is_better (line 5): it is of metric_for_best_model",
    ),
    "an argument that has a place": (
        "training: {arguments: {seed: 1}}",
        "training.arguments.seed (line 5): it has a place of its own. Give seed.",
    ),
    "no examples": ("data: {text_column: a}", "data.train (line 5): missing: a file of examples to train on"),
    "examples and tasks": ("data: {train: a.txt, tasks: b}", "data.tasks (line 5): training is on these or on data.train."),
    "an unknown method": (
        "method: dsc",
        "method.name (line 5): expected one of plain, dcs, sdft, meta_peft, got 'dsc'. Did you mean 'dcs'?",
    ),
    "a method without name": ("method: {lam: 0.3}", "method.name (line 5): missing: plain, dcs, sdft or meta_peft."),
    "options of a method that has none": (
        "method: {name: plain, lam: 0.3}",
        "method.lam (line 5): unknown option: the method 'plain' has none.",
    ),
    "an unknown option of dcs": (
        "method: {name: dcs, temperature: 2}",
        "method.temperature (line 5): unknown option 'temperature'. Did you mean 'tau'?",
    ),
    "an option of dcs": ("method: {name: dcs, lam: 2}", "method.lam (line 5): expected a number in [0, 1], got 2."),
    "options of dcs that exclude each other": (
        "method: {name: dcs, mode: sample, update_every: 5}",
        "method.mode (line 5): 'sample' draws an epoch at a time.",
    ),
    "an unknown preset of dcs": (
        "method: {name: dcs, preset: unifrom}",
        "method.preset (line 5): unknown preset 'unifrom'. Did you mean 'uniform'?",
    ),
    "a preset that is a list": (
        "method: {name: dcs, preset: [1]}",
        "method.preset (line 5): expected another kind of value, got [1].",
    ),
    "a diagnostic inside a method": (
        "method: {name: dcs, tempbalance: recommended}",
        "method.tempbalance (line 5): it is not an option of the method.",
    ),
    "sdft without task": ("method: sdft", "method.task (line 5): say what a rewritten response must agree in"),
    "an option of sdft": (
        "method: {name: sdft, task: math, min_rouge_l: high}",
        "method.min_rouge_l (line 5): expected a share in [0, 1], got 'high'.",
    ),
    "an unknown option of sdft": (
        "method: {name: sdft, task: math, templat: a}",
        "method.templat (line 5): DistillConfig has no option 'templat'.",
    ),
    "an unknown task of sdft": (
        "method: {name: sdft, task: maths}",
        "method.task (line 5): unknown task 'maths'. Did you mean 'math'?",
    ),
    "an option of meta-PEFT": (
        "method: {name: meta_peft, tasks_per_step: 0}",
        "method.tasks_per_step (line 5): expected a whole number of at least 1",
    ),
    "options of meta-PEFT that exclude each other": (
        "method: {name: meta_peft, method: reptile, tasks_per_step: 3}",
        "method.tasks_per_step (line 5): Reptile goes to one task",
    ),
    "an unknown option of meta-PEFT": (
        "method: {name: meta_peft, inner_step: 3}",
        "method.inner_step (line 5): unknown option 'inner_step'.",
    ),
    "an adapter without name": ("adapter: {rank: 4}", "adapter.name (line 5): missing: none or lora."),
    "ranks without an adapter": (
        "adapter: {name: none, ranks: alpha}",
        "adapter.ranks (line 5): it is of an adapter, and there is none.",
    ),
    "modules beside a plan of ranks": (
        "adapter: {name: lora, ranks: alpha, targets: [query]}",
        "adapter.targets (line 5): the plan of adapter.ranks says which modules are adapted. Leave one out.",
    ),
    "an unknown preset": (
        "tempbalance: recomended",
        "diagnostics.tempbalance.policy (line 5): unknown preset 'recomended'. Did you mean 'recommended'?",
    ),
    "a policy that is a number": (
        "tempbalance: {policy: 3}",
        "diagnostics.tempbalance.policy (line 5): expected a preset's name",
    ),
    "an option of a policy": (
        "tempbalance: {policy: {tau: -1}}",
        "diagnostics.tempbalance.policy.tau (line 5): expected a number above 0, got -1.",
    ),
    "an option of a policy beside it": (
        "tempbalance: {tau: 3}",
        "diagnostics.tempbalance.tau (line 5): unknown option: it is of the policy.",
    ),
    "an unknown option of TempBalance": (
        "tempbalance: {bugdet: 1}",
        "diagnostics.tempbalance.bugdet (line 5): unknown option. Did you mean 'budget'?",
    ),
    "an interval of zero": (
        "tempbalance: {interval: 0}",
        "diagnostics.tempbalance.interval (line 5): expected 'auto' or a whole number",
    ),
    "a log elsewhere": (
        "tempbalance: {log: a.jsonl}",
        "diagnostics.tempbalance.log (line 5): it is written to the run folder.",
    ),
    "TempBalance that is a list": (
        "tempbalance: [1]",
        "diagnostics.tempbalance (line 5): expected a preset, options of TempBalance",
    ),
    "a rate that never moves": (
        "tempbalance: {policy: {map: linear, r_min: 0}}",
        "diagnostics.tempbalance.policy.r_min (line 5): a unit whose learning rate is 0",
    ),
    "a decay as a rate": (
        "tempbalance: alphadecay",
        "diagnostics.tempbalance.policy (line 5): 'alphadecay' multiplies another number. Give it as "
        "diagnostics.alphadecay, or true, which is 'recommended' here.",
    ),
    "a rate as a decay": (
        "alphadecay: recommended",
        "Give it as diagnostics.tempbalance, or true, which is 'alphadecay' here.",
    ),
    "what decays cannot keep": (
        "alphadecay: {keep_lr_times_wd: true}",
        "diagnostics.alphadecay.keep_lr_times_wd (line 5): it is for policies of learning rates",
    ),
    "drop probabilities in the wrong order": (
        "guided_dropout: {p_upper: 0.1, p_lower: 0.2}",
        "diagnostics.guided_dropout.p_upper (line 5): p_upper and p_lower: expected 0 <=",
    ),
    "a mean above its cap": (
        "guided_dropout: {mean_p: 0.6}",
        "diagnostics.guided_dropout.mean_p (line 5): expected a number in [0, p_cap]",
    ),
    "a mean that cannot be reached": (
        "guided_dropout: {mean_p: 0.5}",
        "diagnostics.guided_dropout.mean_p (line 5): mean_p 0.5 cannot be reached",
    ),
    "a plan and how to make one": (
        "guided_dropout: {plan: a.yaml, p_upper: 0.3}",
        "diagnostics.guided_dropout.p_upper (line 5): it is for making a plan",
    ),
    "a diagnostic in two places": (
        "diagnostics: {tempbalance: true}\ntempbalance: true",
        "diagnostics.tempbalance (line 6): given twice, here and as tempbalance.",
    ),
    "two seeds": ("seed: 1\ntraining: {seed: 2}", "seed (line 6): given twice, here and as training.seed."),
    "a diagnostic beside what are no options": (
        "tempbalance: true\ndiagnostics: [1]",
        "diagnostics (line 6): expected options by name, got [1].",
    ),
    "a key given twice": ("seed: 1\nseed: 2", "seed (line 5): given twice, in lines 5 and 6. Leave one out."),
    "a key that is a list": ("? [a]\n: b", "a key in line 5 is no word."),
}


@pytest.mark.parametrize(("lines", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_is_refused_with_its_place(lines, message):
    # What the lines give themselves takes the place of the least recipe's, at the same number of lines before.
    least = [
        f"{name}: {value}"
        for name, value in (("model", "demo"), ("data", "{train: texts.txt}"), ("output", "runs/a"))
        if not re.search(f"^{name}:", lines, re.MULTILINE)
    ]
    text = "\n".join(["#"] * (4 - len(least)) + [*least, lines])
    with pytest.raises(InputError, match="the recipe has a fault:\n  .*" + re.escape(message)):
        parse_recipe(text)
