# %% [markdown]
# # Fisher information, and dropout that spares what matters
#
# The spectrum of a weight matrix says how it was trained, and nothing about a task. The Fisher information asks the task: how
# much does the log-likelihood of some examples change when a weight does? Guided dropout (arXiv 2406.14005) drops least where
# that is largest. This notebook measures the one, sets it beside `alpha`, and makes a plan of the other, with the controls
# that a test of the idea needs.
#
# Needs `pip install "spectra-nn[demo,train,frames]"`; a minute or two on two cores, most of it training; nothing to download.

# %%
import csv
from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoTokenizer

import spectra
from spectra.recipes import recipe_path
from spectra.report import figures
from spectra.training import run_recipe

# %% tags=["parameters"]
FOLDER = Path("runs/fisher")  # with other sizes another one: a folder holds one run
TRAIN_SIZE = 200
MAX_STEPS = 30
SAMPLES = 32  # reviews that the Fisher is of

# %% [markdown]
# ## A model with a task
#
# The demo model has no classifier, and gradients through a head that is still random say little of the task. So it gets a few
# steps of plain fine-tuning on short reviews first.

# %%
RECIPE = recipe_path("small-plain")
COMMON = [
    f"data.train_size={TRAIN_SIZE}",
    "data.eval=null",
    "data.max_length=32",
    "diagnostics.spectra=none",
    "training.learning_rate=5e-4",
    f"training.max_steps={MAX_STEPS}",
    "training.per_device_train_batch_size=8",
    "training.save_strategy=no",
]
run_recipe(RECIPE, [*COMMON, "data.test=null", f"output={FOLDER / 'before'}"])
TUNED = FOLDER / "before" / "model"
model, tokenizer = AutoModelForSequenceClassification.from_pretrained(TUNED), AutoTokenizer.from_pretrained(TUNED)

# %% [markdown]
# ## Its Fisher information
#
# The gradient of each sample is squared before anything is averaged; that of a batch, squared, would be another quantity. A
# layer's score is the mean over its weights. Scores span orders of magnitude, so read them on a logarithmic axis, and within
# a kind of layer first: biases and norms have few weights that matter much, embeddings many that no text here has touched.

# %%
with (RECIPE.parent / "data" / "reviews" / "eval.tsv").open(encoding="utf-8", newline="") as file:
    reviews = list(csv.DictReader(file, delimiter="\t"))[:SAMPLES]
batches = []
for start in range(0, len(reviews), 8):
    some = reviews[start : start + 8]
    tokens = tokenizer([review["text"] for review in some], padding=True, truncation=True, max_length=32, return_tensors="pt")
    labels = tokens["input_ids"].new_tensor([model.config.label2id[review["label"]] for review in some])
    batches.append({**tokens, "labels": labels})
estimate = spectra.fisher(model, batches)
print(estimate)
print(*figures.write(figures.fisher_by_layer(estimate, wide=True), FOLDER / "figures", "fisher-by-layer", ["png"]))

# %% [markdown]
# Each trace has a standard error, from the spread over the samples. Where it is a large part of the trace, the order of
# layers with alike scores is chance.

# %%
tensors = estimate.to_pandas("tensor")
tensors["relative_error"] = tensors["trace_std_error"] / tensors["trace"]
blocks = tensors[tensors["name"].str.contains("encoder.layer") & tensors["name"].str.endswith("weight")]
print(f"standard error of a trace over the trace, median of {len(blocks)} tensors: {blocks['relative_error'].median():.2f}")

# %% [markdown]
# ## Beside `alpha`
#
# Two questions, two answers: how well a layer looks trained, and how much this task depends on it. Over the axes stands their
# rank correlation. It has no p-value, as the layers of a model are no independent sample.

# %%
report = spectra.analyze(TUNED)
print(*figures.write(figures.fisher_vs_alpha(estimate, report, wide=True), FOLDER / "figures", "fisher-vs-alpha", ["png"]))

# %% [markdown]
# ## A plan
#
# Sites are the places where the model drops out. Each gets the score of the parameters that make what it drops, and by the
# rank of that a probability: the highest score 0, the lowest `p_upper`. Only the order counts, and the way from parameters to
# a score decides much of it: under `mean_of_means`, the rule behind the published order, whole kinds of sites change places.
# Choose before you look.

# %%
plan = spectra.dropout_plan(estimate)
plan.save(FOLDER / "plan.yaml")
print(plan)
for aggregate in ("param_mean", "mean_of_means"):
    by_role = spectra.dropout_plan(estimate, aggregate=aggregate).with_control("per-type")
    print(f"{aggregate}: mean by kind", {by_role.roles[name]: round(rate, 3) for name, rate in by_role.rates.items()})
print(*figures.write(figures.plan(plan, wide=True), FOLDER / "figures", "plan", ["png"]))

# %% [markdown]
# ## Its controls
#
# A guided plan differs from the model's own dropout in more than guidance: its mean is half as large, and each kind of site
# has a level of its own. A control keeps some of that and drops the guidance.

# %%
first = next(iter(plan.rates))
for name in ("guided", "uniform", "mean-matched", "per-type", "shuffled", "reversed", "none"):
    control = plan.with_control(name)
    print(f"{name:12} mean {control.mean:.4f}, at {first} {control.rates[first]:.4f}")

# %% [markdown]
# ## A few steps with it
#
# The plan as it is, and the control of the same mean, from the same start with the same data and seed. In a loop of your own
# it is `with spectra.training.GuidedDropout("plan.yaml").apply(model): ...`.

# %%
for control in ("guided", "mean-matched"):
    guided = f"diagnostics.guided_dropout={{plan: {(FOLDER / 'plan.yaml').resolve()}, control: {control}}}"
    record = run_recipe(RECIPE, [*COMMON, guided, f"output={FOLDER / control}"])
    accuracy = record.test_metrics["test_accuracy"]
    print(f"{control}: {record.num_steps} steps, accuracy {accuracy:.2f} on {record.num_test} test reviews")

# %% [markdown]
# ## What one may conclude
#
# - **That the rates are applied, and how far the plan is from its control.** Two accuracies of one seed on 100 reviews each
#   have a standard error of up to 0.05: these say nothing about guidance, whichever is larger.
# - **A high score is not a well-trained layer, nor a low one a useless layer.** It is the sensitivity of one loss, at these
#   weights, on these examples.
# - The Fisher here was measured with the data's labels. It is the true Fisher only where the data follow the model, which
#   after few steps they do not: `kind="sampled"` draws labels from the model.
# - **A benefit of guidance is one over `mean-matched` and several draws of `shuffled`**, over seeds: `spectra sweep
#   small-guided-dropout` with `--baseline`, as in [03_low_data_fine_tuning.py](03_low_data_fine_tuning.py). We have not
#   measured one: [docs/guided-dropout.md](../docs/guided-dropout.md).
