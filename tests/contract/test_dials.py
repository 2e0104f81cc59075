"""Shell, form, MLflow's schema and params take their dials from the one table (dials.py)."""

import re
from typing import Any

import pytest
import typer
from factories import make_encoder_manifest
from pydantic.fields import FieldInfo

from compodiff.cli import app
from compodiff.dials import DIALS, Dial
from compodiff.errors import InputInvalid
from compodiff.params import SamplingParams
from compodiff.search.query import Query, SearchDials
from compodiff.search.searcher import Searcher
from compodiff.serving.form import SearchForm
from compodiff.tracking.signature import make_signature

SEARCH: Any = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
OF_MODELS = {name: dial for name, dial in DIALS.items() if dial.default is None}


@pytest.fixture(params=DIALS.values(), ids=DIALS)
def dial(request: pytest.FixtureRequest) -> Dial:
    return request.param


def bounds(field: FieldInfo) -> dict[str, float]:
    return {name: getattr(each, name) for each in field.metadata for name in ("ge", "le") if hasattr(each, name)}


def test_the_shell_has_it_with_its_meaning_range_and_default(dial: Dial) -> None:
    option = next(each for each in SEARCH.params if dial.help[1:] in (getattr(each, "help", "") or ""))
    assert dial.range in option.help
    assert option.default == dial.default


def test_the_form_has_it_within_what_one_request_may_ask_for(dial: Dial) -> None:
    field = SearchForm.model_fields[dial.option or dial.name]
    assert bounds(field) == {"ge": dial.least, "le": min(dial.most, dial.most_served)}
    assert field.default == dial.default
    assert dial.help in str(field.description)


def test_python_has_it(dial: Dial) -> None:
    assert dial.name in SearchDials.__annotations__ or dial.name in Searcher.search.__annotations__
    with pytest.raises(InputInvalid, match=f"^{dial.name} is -1; take (a number from )?{re.escape(dial.range)}$"):
        Query(None, "a", **{dial.name: -1}).require()


@pytest.mark.parametrize("name", OF_MODELS)
def test_params_and_mlflow_have_it(name: str) -> None:
    assert bounds(SamplingParams.model_fields[name])["ge"] == DIALS[name].least
    sampling = {each: DIALS[each].type(1) for each in OF_MODELS}
    params = make_signature({"encoder": make_encoder_manifest(embedding_dim=4).to_json()}, sampling).params
    assert params is not None
    assert set(params.to_dict()[0]) >= {"name", "default"}
    assert {each.name for each in params} == set(OF_MODELS)
