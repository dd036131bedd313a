# %% [markdown]
# # Comparing a fine-tuned model with its base
#
# Two checkpoints of one architecture: which layers did fine-tuning move, in how many directions, and did that change what
# their spectra say? A norm alone answers none of this, and a change of `alpha` alone may be chance. So each number below
# stands beside what a random change of the same size would give.
#
# Needs `pip install "spectra-nn[demo,train,frames]"`; about a minute on two cores, most of it the fine-tuning.

# %%
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import spectra
from spectra.recipes import recipe_path
from spectra.report import figures
from spectra.training import run_recipe

# %% tags=["parameters"]
BASE = "demo"  # all-MiniLM-L6-v2
FOLDER = Path("runs/comparing")  # with other sizes another one: a folder holds one run
TRAIN_SIZE = 64
MAX_STEPS = 24

# %% [markdown]
# ## A fine-tuned model
#
# A few steps on short reviews, by a recipe that comes along; nothing is evaluated here, as only the weights matter. Have two
# checkpoints already? Give their folders as `BASE` and `TUNED`, and leave this cell out.

# %%
changes = [
    f"model.name={BASE}",
    f"output={FOLDER / 'run'}",
    f"data.train_size={TRAIN_SIZE}",
    "data.eval=null",
    "data.test=null",
    "data.max_length=32",
    "diagnostics.spectra=none",
    f"training.max_steps={MAX_STEPS}",
    "training.per_device_train_batch_size=8",
    "training.save_strategy=no",
]
record = run_recipe(recipe_path("small-plain"), changes)
TUNED = FOLDER / "run" / "model"
print(f"{record.num_steps} steps on {record.num_train} reviews: {TUNED}")

# %% [markdown]
# ## A yardstick
#
# Another step from the tuned weights, as long as that of training in each matrix, but in a random direction. What training
# did is news only where it differs from what this step does.

# %%
tuning = spectra.compare(BASE, TUNED)
norms = {f"{row.layer_name}.weight": row.norm_change for row in tuning.rows}
elsewhere, random = load_file(TUNED / "model.safetensors"), np.random.default_rng(0)
for name, weight in elsewhere.items():
    norm = next((norm for layer, norm in norms.items() if name.endswith(layer)), 0.0)  # the head and vectors stay
    step = random.standard_normal(weight.shape)
    elsewhere[name] = weight + step * (norm / np.linalg.norm(step))
tables = {"fine-tuning": tuning.to_pandas(), "random step": spectra.compare(TUNED, elsewhere).to_pandas()}

# %% [markdown]
# ## Where did it move?
#
# The norm of each matrix's change relative to the matrix, along the depth, and beside it what became of its `alpha`. Hollow
# marks are poor fits, before or after: far from zero they mean nothing. Weights are matched by name, through the prefix
# `bert.` that the class of the tuned model adds; the new head has no base and is not compared. Similarity by CKA is another
# measure of how far two models are apart: it is blind to scale, and 1 means equal.

# %%
print(tuning)
shown = ["layer_name", "relative_change", "alpha_before", "alpha_after", "verdict"]
table = tables["fine-tuning"].sort_values("relative_change", ascending=False)
print(table[shown].head(4).to_string(index=False, float_format="%.3f"))
print(*figures.write(figures.compare(tuning, wide=True), FOLDER / "figures", "compare", ["png"]))
for words, pair, head in (
    ("base and tuned", (BASE, TUNED), ()),
    ("tuned and random step", (TUNED, elsewhere), ("classifier",)),
):
    print(f"CKA of {words}: mean {spectra.distances(*pair, method='cka', exclude=head).mean:.5f}")

# %% [markdown]
# ## In how many directions?
#
# The spectrum of the change itself. Its stable rank, the squared norm over the largest eigenvalue, is low where one direction
# dominates. How many directions make up most of the change, as the rank of an adapter must, is told by their share of its
# energy. A low stable rank and a small share in the top directions together mean: a few strong directions, many weak ones.
# Whether the matrix itself has turned is another question: the overlap of its ten leading directions before and after is 1 if
# they span the same space, and an intruder is a leading direction that comes close to none from before.

# %%
for name, table in tables.items():
    change = f"stable rank {table['change_stable_rank'].median():.1f}, top 8 directions {table['energy_8'].median():.0%}"
    turned = f"overlap {table['overlap_left'].median():.4f} (medians), intruders: {table['num_intruders'].sum():.0f}"
    print(f"{name}: {change}, {turned}")
# Seen from the tuned model, so that layers have the same names in both: a change backwards has the same spectrum.
shifts = {"fine-tuning": spectra.base_shift(TUNED, BASE), "random step": spectra.base_shift(TUNED, elsewhere)}
print(*figures.write(figures.base_shift(shifts, wide=True), FOLDER / "figures", "base-shift", ["png"]))

# %% [markdown]
# ## Did the tails change?
#
# Over the layers whose fits are good before and after. A large change of a single layer is mostly a jump of the start of its
# tail; where the start cannot jump, with `spectra.compare(..., xmin="median")`, it is not there. So compare the medians:
# where they are alike, `alpha` has not noticed this training, however clearly the spectrum of the change shows it. More on
# what each number means, and where it fails: [docs/compare.md](../docs/compare.md).

# %%
for name, table in tables.items():
    good = table[(table["fit_quality_before"] == "good") & (table["fit_quality_after"] == "good")]
    moves = good["alpha_change"].abs()
    print(f"change of alpha by {name}: median {moves.median():.3f}, largest {moves.max():.2f}, of {len(moves)} layers")
