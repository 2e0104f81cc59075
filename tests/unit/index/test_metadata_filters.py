import time

import numpy as np
import pandas as pd
import pytest

from compodiff.errors import InputInvalid
from compodiff.index.filters import Filters

TABLE = pd.DataFrame(
    {
        "picture_id": ["a/cat.png", "a/dog.jpg", "b/cat.jpg", "b/Sea at night.webp"],
        "size": [10, 200, 3000, 40000],
        "folder": ["a", "a", "b", "b"],
        "caption": ["a cat", None, "a cat, asleep", "the sea"],
        "modified": pd.to_datetime(["2020-01-01", "2021-06-01 18:00", "2022-01-01", "2023-01-01"], format="ISO8601"),
        "rating of mine": [5.0, np.nan, 1.0, 3.0],
    }
)

CLAUSES = (
    "qualify ((select sum(a.range + b.range) from range(9) a, range(9) b) > 1 and row_number() over () < 2",
    "where (exists (select 1)",
    "group by (size",
    "having (count(*) > 1",
    "order by (random()",
    "limit (select 1",
    "window w as (order by size",
    "using sample (3",
)


@pytest.fixture(scope="module")
def filters() -> Filters:
    return Filters(TABLE)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("folder = 'a'", [0, 1]),
        ("size > 100 and size < 10000", [1, 2]),
        ("caption like '%cat%' or picture_id ilike '%SEA%'", [0, 2, 3]),
        ("modified >= date '2021-06-01'", [1, 2, 3]),
        ("modified between '2021-01-01' and '2022-06-01'", [1, 2]),
        ("year(modified) = 2020", [0]),
        ("\"modified\"::date <= '2021-06-01'", [0, 1]),  # as the page asks, to the end of the day
        ('"rating of mine" is not null and "rating of mine" * 2 >= 6', [0, 3]),
        ("folder in ('b', 'c') and not contains(caption, 'sea')", [2]),
        ("caption is null", [1]),
        ("regexp_matches(picture_id, '^b/')", [2, 3]),
        ("size > 1 -- a remark", [0, 1, 2, 3]),
        ("size < 0", []),
    ],
)
def test_a_condition_chooses_its_rows(filters, condition, rows):
    assert filters.find_rows(condition).tolist() == rows
    assert filters.find_rows(condition).tolist() == rows  # remembered


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("size >", "does not parse"),
        ("nonsense here", "does not parse"),
        ("1 = 1", "names no column; columns are picture_id, size"),
        ("height > 3", 'column "height" not found.*columns are picture_id, size'),
        ("size = 'large'", "Could not convert string 'large'"),
        ("size in (select 1)", "holds a subquery"),
        ("exists (select 1)", "holds a subquery"),
        ("size > 1) union (select 1", "is not one condition"),
        ("size) from (select 1 as size", "is not one condition"),
        ("size > 1) or (size < 0", "is not one condition"),
        *((f"folder = 'a') {clause}", "is not one condition") for clause in CLAUSES),
        ("size > 1; drop table pictures", "does not parse"),
        ("size > 1); drop table pictures; select (1", "is not one condition|does not parse"),
        ("size, folder", "calls row"),
        ("*", "holds a star"),
        ("columns(*) is null", "holds a star"),
        ("row_number() over () > size", "holds a window"),
        ("getenv('HOME') = folder", "calls getenv"),
        ("read_text('params.yaml') = folder", "calls read_text"),
        ("repeat(folder, 1000000000) = 'a'", "calls repeat"),
        ("list_transform([size], x -> x) = [1]", "calls list_transform|holds a lambda"),
        ("size = ?", "holds a parameter"),
        ("count(*) > size", "calls count"),
        ("'" * 50_001, "does not parse"),
        ("  ", "names no column|calls row"),
    ],
)
def test_what_is_no_condition_is_refused(filters, condition, message):
    with pytest.raises(InputInvalid, match=message):
        filters.find_rows(condition)


def test_deeply_nested_conditions_are_refused_without_a_crash(filters):
    with pytest.raises(InputInvalid):
        filters.find_rows("(" * 5000 + "size" + ")" * 5000)


def test_a_condition_that_takes_long_is_given_up(monkeypatch):
    monkeypatch.setattr("compodiff.index.filters._MOST_SECONDS", 0.05)
    many = Filters(pd.DataFrame({"caption": [f"{number} " * 20 for number in range(200_000)]}))
    slow = " or ".join(f"regexp_matches(caption, '(a|{number})+b.*c$')" for number in range(100))
    started = time.monotonic()
    with pytest.raises(InputInvalid, match=r"takes more than 0\.05 s; ask for less"):
        many.find_rows(slow)
    assert time.monotonic() - started < 5
    assert len(many.find_rows("starts_with(caption, '7 ')")) == 1  # the next one is answered
