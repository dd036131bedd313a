import re

from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.results.fleet_names import folder_names

LOCATIONS = st.lists(
    st.lists(
        st.sampled_from(["a", "A", "b", "run 1", "run-1", "model", "x.safetensors", "model.safetensors", "..", "=x", "ü"]),
        min_size=1,
        max_size=4,
    ).map("/".join),
    min_size=1,
    max_size=12,
    unique=True,
)


@settings(deadline=None)
@given(LOCATIONS)
def test_names_are_safe_and_no_two_are_the_same_folder_on_any_system(locations):
    names = folder_names(locations, {})
    assert list(names) == locations
    assert len({name.lower() for name in names.values()}) == len(locations)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) for name in names.values())


@settings(deadline=None)
@given(LOCATIONS, LOCATIONS)
def test_names_that_were_given_stay_when_models_are_added(first, more):
    names = folder_names(first, {})
    again = folder_names([*more, *(location for location in first if location not in more)], names)
    assert {location: again[location] for location in first} == names
    assert len({name.lower() for name in again.values()}) == len(again)


def test_a_model_is_named_by_the_end_of_its_path_and_by_what_tells_it_from_the_others():
    locations = ["/runs/a/checkpoint-9", "/runs/b/checkpoint-9", "org/tiny", "/x/tuned/model.safetensors", "/x/best.pt", "/"]
    assert list(folder_names(locations, {}).values()) == ["a-checkpoint-9", "b-checkpoint-9", "tiny", "tuned", "best", "model"]


def test_a_long_name_is_cut_at_its_start():
    (name,) = folder_names(["/" + "x" * 300 + "end"], {}).values()
    assert len(name) == 100
    assert name.endswith("xend")
