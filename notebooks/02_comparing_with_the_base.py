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
from spectra.training.sdft import model_shift

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
stored = load_file(TUNED / "model.safetensors")
tuned = {name.removeprefix("bert."): weight for name, weight in stored.items()}  # as BERT without a head names them
shift = model_shift(BASE, TUNED)
names = [matrix.layer_name for matrix in shift.matrices]
elsewhere, random = dict(tuned), np.random.default_rng(0)
for matrix in shift.matrices:
    name = f"{matrix.layer_name}.weight"
    step = random.standard_normal(tuned[name].shape)
    elsewhere[name] = tuned[name] + step * (matrix.norm_change / np.linalg.norm(step))

# %% [markdown]
# ## Where did it move?
#
# The norm of each matrix's change relative to the matrix, along the depth, and beside it the change of its `alpha`. Hollow
# marks are poor fits, before or after: far from zero they mean nothing. Layers are matched by name; the new head has no base
# and is not compared. Similarity by CKA is another measure of how far two models are apart: it is blind to scale, and 1 means
# equal.

# %%
table = shift.to_pandas().sort_values("relative_change", ascending=False)
shown = ["layer_name", "relative_change", "alpha_before", "alpha_after"]
print(f"the model moved by {shift.relative_change:.2%} of its norm; the layers that moved most:")
print(table[shown].head(4).to_string(index=False, float_format="%.3f"))
print(*figures.write(figures.model_shift(shift, wide=True), FOLDER / "figures", "model-shift", ["png"]))
for words, pair in (("base and tuned", (BASE, tuned)), ("tuned and random step", (tuned, elsewhere))):
    print(f"CKA of {words}: mean {spectra.distances(*pair, method='cka', include=names).mean:.5f}")

# %% [markdown]
# ## In how many directions?
#
# The spectrum of the change itself. Its stable rank, the squared norm over the largest eigenvalue, is low where one direction
# dominates. How many directions make up most of the change, as the rank of an adapter must, is told by their share of its
# energy. A low stable rank and a small share in the top directions together mean: a few strong directions, many weak ones.

# %%
shifts = {"fine-tuning": spectra.base_shift(BASE, TUNED), "random step": spectra.base_shift(tuned, elsewhere)}
for name, change in shifts.items():
    print(f"{name}: stable rank {change.median('stable_rank'):.1f}, top 8 directions {change.energy(8):.0%} (medians)")
print(*figures.write(figures.base_shift(shifts, wide=True), FOLDER / "figures", "base-shift", ["png"]))

# %% [markdown]
# ## Did the tails change?
#
# Over the layers whose fits are good before and after. A large change of a single layer is mostly a jump of the start of its
# tail; where the start cannot jump, with `model_shift(..., xmin="median")`, it is not there. So compare the medians: where
# they are alike, `alpha` has not noticed this training, however clearly the spectrum of the change shows it.

# %%
for name, one in (("fine-tuning", shift), ("random step", model_shift(tuned, elsewhere))):
    moves = [abs(matrix.alpha_change) for matrix in one.matrices if matrix.is_reliable]
    print(f"change of alpha by {name}: median {np.median(moves):.3f}, largest {max(moves):.2f}, of {len(moves)} layers")
