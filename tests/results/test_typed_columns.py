import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given

from spectra.results.typed_columns import TypedColumns

TYPES = {"name": "string", "size": "int64", "rank": "Int64", "alpha": "float64", "flag": "bool"}
ROWS = st.lists(
    st.fixed_dictionaries({"name": st.text(), "rank": st.none() | st.integers(0, 2**62), "alpha": st.floats()}), max_size=4
)


def columns_of(rows, names):
    return {name: [row[name] for row in rows] for name in names}


@given(st.lists(st.tuples(ROWS, st.sets(st.sampled_from(["name", "rank", "alpha"]), min_size=1)), max_size=4))
def test_parts_with_different_columns_become_one_table_of_the_same_types(parts):
    table, expected = TypedColumns(TYPES), []
    for rows, names in parts:
        table.add(columns_of(rows, names))
        expected += [{name: row.get(name) if name in names else None for name in ("name", "rank", "alpha")} for row in rows]
    frame = table.to_pandas()
    used = set().union(*(names for _, names in parts))
    assert list(frame.columns) == [name for name in TYPES if name in used]
    for name in frame.columns:
        assert str(frame.dtypes[name]) == TYPES[name]
        values = pd.Series([row[name] for row in expected], dtype=TYPES[name], name=name)
        pd.testing.assert_series_equal(frame[name], values)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"alpha": [1.0, "high"]}, "must be real number"),
        ({"size": [1.5]}, "integer"),
        ({"rank": [1.5]}, "rank: 1.5 is no Int64"),
        ({"name": ["a", None]}, "name: None is no string"),
        ({"alpha": [1.0], "flag": ["yes"]}, "flag: 'yes' is no bool"),
    ],
)
def test_a_value_of_another_type_is_refused_and_nothing_is_added(columns, message):
    table = TypedColumns(TYPES)
    table.add({"alpha": [2.0]})
    with pytest.raises(TypeError, match=message):
        table.add(columns)
    pd.testing.assert_frame_equal(table.to_pandas(), pd.DataFrame({"alpha": [2.0]}))


def test_nothing_is_a_table_without_columns():
    assert TypedColumns(TYPES).to_pandas().shape == (0, 0)
