# %% [markdown]
# # Fine-tuning with little data, driven by diagnostics
#
# A model can fit 64 examples in many ways, so it matters more than usual which weights may move, and how fast. Two
# diagnostics have an opinion on that. Spectra say which blocks look trained too little: TempBalance lets these learn at a
# higher rate. The Fisher information says on which places the loss depends: guided dropout spares these. Does it help? This
# notebook shows how to ask; four short runs cannot tell.
#
# Needs `pip install "spectra-nn[demo,train,frames]"`; a minute or two on two cores, nothing to download.

# %%
from math import sqrt
from pathlib import Path
from statistics import fmean

from spectra import load_dropout_plan
from spectra.recipes import recipe_path
from spectra.report import figures
from spectra.report.run_figures import draw_run
from spectra.results.run_record import load_run
from spectra.results.run_spectra import load_run_spectra
from spectra.results.scale_log import load_scale_log
from spectra.training import run_recipe

# %% tags=["parameters"]
FOLDER = Path("runs/low-data")  # with other sizes another one: a folder holds one run
SEEDS = (0, 1)
TRAIN_SIZE = 64
EPOCHS = 4

# %% [markdown]
# ## Two recipes that differ in their diagnostics only
#
# A recipe is a YAML file with everything a run needs; `spectra finetune small-plain --print-config` shows one with the source
# of each value. Changes are written as on the command line, after `--set`. Both settings of a seed see the same examples in
# the same order, so that they can be compared seed by seed.

# %%
SETTINGS = {
    "plain": [],
    "driven": ["diagnostics.tempbalance=recommended", f"diagnostics.guided_dropout={{samples: {TRAIN_SIZE}, p_upper: 0.1}}"],
}
COMMON = [
    f"data.train_size={TRAIN_SIZE}",
    "data.eval=null",  # no option is chosen on it
    "data.max_length=32",
    "diagnostics.spectra=ends",
    f"training.num_train_epochs={EPOCHS}",
    "training.per_device_train_batch_size=8",
    "training.save_strategy=no",
    "training.logging_steps=4",
]
folders = {(name, seed): FOLDER / f"{name}-{seed}" for seed in SEEDS for name in SETTINGS}
for (name, seed), folder in folders.items():
    changes = [*COMMON, *SETTINGS[name], f"seed={seed}", f"data.data_seed={seed}", f"output={folder}"]
    run_recipe(recipe_path("small-plain"), changes, draw=draw_run)  # a finished run is not run again

# %% [markdown]
# ## Results, with their noise
#
# Two kinds of noise come before any conclusion: the test set is small, so each accuracy has a standard error; and another
# seed, with other examples and another random head, gives another accuracy. A difference has to be larger than both.
# (Diagnostics have a budget of 3 % of the time of training; those before and after it are always made, and weigh in so
# short a run.)

# %%
records = {key: load_run(folder) for key, folder in folders.items()}
accuracy = {key: record.test_metrics["test_accuracy"] for key, record in records.items()}
for (name, seed), record in records.items():
    share = f"diagnostics took {record.diagnostics_share:.0%} of training"
    print(f"{name}, seed {seed}: test accuracy {accuracy[name, seed]:.2f}; {share}")
differences = [accuracy["driven", seed] - accuracy["plain", seed] for seed in SEEDS]
p, num_test = fmean(accuracy.values()), next(iter(records.values())).num_test
print(f"driven minus plain, by seed: {', '.join(f'{difference:+.2f}' for difference in differences)}")
print(f"standard error of one accuracy, from {num_test} test examples alone: {sqrt(p * (1 - p) / num_test):.2f}")

# %% [markdown]
# **Whatever these lines say, it is no result**: with two seeds, a difference and its opposite are both likely. For an answer
# take at least five seeds, a learning rate tuned alike for every setting, and controls that tell the idea from its side
# effects, such as dropout of the same mean without guidance:
#
# ```console
# $ spectra sweep small-guided-dropout --set data.train_size=64 --seeds 0..9 -o runs/guidance \
#     --grid diagnostics.guided_dropout.control=guided,mean-matched --baseline diagnostics.guided_dropout.control=mean-matched
# ```
#
# It gives means with their errors and paired tests, corrected for their number. A study of this kind, over four tasks, is
# [analysis/low_data_finetuning](../analysis/low_data_finetuning/README.md).
#
# ## What the diagnostics did
#
# The run folder keeps what was measured and what was made of it. Multipliers of the learning rate by block, first and last:
# below 1 a block learns more slowly than the scheduler says. If they hardly change, one measurement would have done.

# %%
folder = folders["driven", SEEDS[0]]
log = load_scale_log(folder / "tempbalance.jsonl")
first, last = log.records[0], log.records[-1]
for unit in first.scales:
    print(f"{unit}: learning rate times {first.scales[unit]:.2f} at step {first.step}, {last.scales[unit]:.2f} at {last.step}")

# %% [markdown]
# Drop probabilities: lowest where the Fisher is largest. It was measured before training, through a head that is still random;
# whether that is the right Fisher is a fair question to the method.

# %%
plan = load_dropout_plan(folder / "dropout-plan.yaml")
print(plan)
print(*figures.write(figures.plan(plan, wide=True), FOLDER / "figures", "dropout-plan", ["png"]))

# %% [markdown]
# And the spectra at both ends. If the two medians are nearly equal, as after few steps, `alpha` tells of the pretrained
# model and not of this training: then it can choose how to begin, but cannot judge how the run went.

# %%
for one in load_run_spectra(folder):
    print(f"{one.name}: median alpha {one.report.summary.metrics['alpha'].median:.3f} at step {one.step}")

# %% [markdown]
# ## The rest of the run folder
#
# `summary.md` is the page to read first: what ran, results, figures, what diagnostics cost. `recipe.yaml` runs it again.
# One of the figures is the loss of the training data:

# %%
print(*sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith(".")), sep="  ")
print(*sorted(path.name for path in (folder / "figures").glob("*.png")), sep="  ")
print(folder / "figures" / "losses.png")
