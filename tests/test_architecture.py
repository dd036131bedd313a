"""The house stays as it was drawn: imports run one way, and what is light stays light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "spectra"

# From the ground up; a folder may import from those before it.
STOREYS = ["results", "sources", "matrices", "esd", "fisher", "diagnose", "policies", "recipes", "training", "report", "cli"]
# What the picture forbids beside that: results stands on the ground, spectra and shows know nothing of models and each other.
FORBIDDEN = {
    "esd": {"sources", "matrices", "results"},
    "sources": {"results"},
    "report": {"sources", "matrices", "esd", "diagnose"},
}


def imports_of(file):
    """Yield the modules of our own that a file imports, inside functions too."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spectra."):
            folder = PACKAGE.parent.joinpath(*node.module.split("."))
            modules = {alias.name for alias in node.names if (folder / f"{alias.name}.py").exists()}
            yield from (f"{node.module}.{name}" for name in modules)
            if len(modules) < len(node.names):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("spectra."))


def edges():
    for file in PACKAGE.rglob("*.py"):
        folder = file.relative_to(PACKAGE).parts[0]
        if folder not in STOREYS:
            continue
        for module in imports_of(file):
            target = module.split(".")[1]
            if target in STOREYS and target != folder:
                yield folder, target, f"{file.relative_to(PACKAGE)} imports {module}"


def test_imports_run_downwards_only():
    wrong = [text for folder, target, text in edges() if STOREYS.index(target) > STOREYS.index(folder)]
    assert wrong == []


def test_folders_that_must_not_know_each_other_do_not():
    wrong = [text for folder, target, text in edges() if target in FORBIDDEN.get(folder, set())]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    names = {file: ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in PACKAGE.rglob("*.py")}
    graph = {name.removesuffix(".__init__"): set(imports_of(file)) for file, name in names.items()}
    graph.pop("spectra")  # the public names: lazily everything
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert set(graph) <= set(order)


def test_every_folder_has_its_storey():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(STOREYS)


def test_every_file_says_what_it_is_for():
    silent = [file for file in PACKAGE.rglob("*.py") if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))]
    assert silent == []


def modules_after(code):
    program = f"import sys\n{code}\nprint(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines())


@pytest.mark.parametrize(
    "code",
    [
        "import spectra",
        "from spectra.cli.main import main; main(['--help'])",
        "from spectra.cli.main import main; main(['analyze', '--help'])",
        "from spectra.cli.main import main; main(['distill', '--help'])",
        "from spectra.cli.main import main; main(['distill', 'evaluate', '--help'])",
        "import spectra.training.sdft, spectra.results.distill_records, spectra.results.selection_report",
        "from spectra.cli.main import main; main(['finetune', '--help'])",
        "from spectra.cli.main import main; main(['finetune', 'small-plain', '--print-config'])",
        "from spectra.cli.main import main; main(['sweep', '--help'])",
        "from spectra.cli.main import main; main(['fisher', '--help'])",
        "from spectra.cli.main import main; main(['merge', '--help'])",
        "from spectra.cli.main import main; main(['collect', '--help'])",
        "from spectra.cli.main import main; main(['surface', '--help'])",
        "from spectra.cli.main import main; main(['plan', '--help'])",
        "from spectra.cli.main import main; main(['plot', '--help'])",
        "from spectra.cli.main import main; main(['prune', '--help'])",
        "from spectra.cli.main import main; main(['report', '--help'])",
        "import spectra; spectra.fisher, spectra.training",
    ],
    ids=[
        "import",
        "help",
        "analyze help",
        "distill help",
        "evaluate help",
        "reports of distill",
        "finetune help",
        "a recipe",
        "sweep help",
        "fisher help",
        "merge help",
        "collect help",
        "surface help",
        "plan help",
        "plot help",
        "prune help",
        "report help",
        "packages",
    ],
)
def test_importing_and_helping_stay_light(code):
    heavy = {"torch", "transformers", "matplotlib", "pandas", "scipy", "numpy", "safetensors", "huggingface_hub"}
    assert modules_after(code) & heavy == set()


def test_analysing_safetensors_on_cpu_imports_no_torch(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"fc.weight": np.random.default_rng(0).random((40, 30))}, tmp_path / "model.safetensors")
    code = f"from spectra.cli.main import main; main(['analyze', {str(tmp_path / 'model.safetensors')!r}, '--json'])"
    assert modules_after(code) & {"torch", "transformers", "matplotlib", "scipy", "pandas"} == set()


def test_public_names_are_what_they_say():
    import spectra

    assert set(spectra.__all__) <= set(dir(spectra))
    for name in spectra.__all__:
        assert getattr(spectra, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        spectra.analyse  # noqa: B018
