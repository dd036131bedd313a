import pytest

from spectra.errors import SourceError
from spectra.training.recipe.assembly.hub_data import HubData, hub_data, read_hub_data


@pytest.fixture
def glue(tmp_path):
    """A data set as the hub has them, in a folder: with names of classes, and without labels in a split."""
    from datasets import ClassLabel, Dataset, Features, Value

    kinds = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    folder = tmp_path / "glue"
    folder.mkdir()
    for split, labels in (("train", [0, 1, 1]), ("validation", [1, 0]), ("test", [-1, -1])):
        rows = {"text": [f"{split} {place}" for place in range(len(labels))], "label": labels}
        Dataset.from_dict(rows, features=kinds).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nyu-mll/glue:rte", HubData("nyu-mll/glue", "rte")),
        ("nyu-mll/glue:rte:validation", HubData("nyu-mll/glue", "rte", "validation")),
        ("imdb", HubData("imdb")),
        ("stanfordnlp/imdb::test", HubData("stanfordnlp/imdb", None, "test")),
        ("data/train.tsv", None),
        ("train.jsonl", None),
        ("./train", None),
        ("/data/train", None),
        ("a/b/c", None),
    ],
)
def test_what_names_data_of_the_hub_and_what_a_file(text, expected):
    assert hub_data(text) == expected


def test_what_exists_here_is_no_data_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "imdb").mkdir()
    monkeypatch.chdir(tmp_path)
    assert hub_data("imdb") is None


@pytest.mark.parametrize(("use", "number"), [("train", 3), ("eval", 2), ("test", 2)])
def test_each_use_has_its_usual_split(glue, use, number):
    records, names = read_hub_data(HubData(str(glue)), use)
    assert len(records) == number
    assert names == {"label": ["no", "yes"]}


def test_a_split_that_is_named_is_read(glue):
    records, _ = read_hub_data(HubData(str(glue), None, "test"), "train")
    assert records[0] == {"text": "test 0", "label": -1}


def test_data_that_cannot_be_had_are_refused_in_one_line():
    with pytest.raises(SourceError, match=r"cannot read the split 'train' of the data set 'nobody/nothing'.*go online"):
        read_hub_data(HubData("nobody/nothing"), "train")


def test_an_empty_split_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "train.csv").write_text("text,label\n")
    with pytest.raises(SourceError, match=r"cannot read the split 'train' of .*no data"):
        read_hub_data(HubData(str(tmp_path / "empty")), "train")
