"""The Great Expectations suite; nothing else imports that library, and only when it is used: that takes seconds."""

import os
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from compodiff.params import SimilarityFloors, ValidationParams

NAMES = ("key", "shard", "reference", "target", "relation", "split")
TEXTS = ("reference_caption", "target_caption", "relative_caption")
SCORES = tuple(SimilarityFloors.model_fields)
# The columns of the manifest and their types.
MANIFEST = {
    **dict.fromkeys((*NAMES, *TEXTS, "rejected_by"), "str"),
    **dict.fromkeys(SCORES, "float32"),
    "accepted": "bool",
}
# The columns that `add_evidence` adds.
EVIDENCE = ("reference_pixels", "target_pixels", "reference_split", "target_split", "held_out_twin")


@dataclass(frozen=True)
class ExpectationResult:
    """What one expectation found.

    Attributes:
        expectation: its name, with the columns it looks at.
        passed: whether it holds for enough rows.
        keys: keys of the rows for which it does not hold; none where the table as a whole is at fault.
        observed: what was seen instead, where the table as a whole is at fault.
        tolerated: the fraction of rows for which it need not hold.
    """

    expectation: str
    passed: bool
    keys: tuple[str, ...]
    observed: str
    tolerated: float = 0.0


def has_schema(rows: pd.DataFrame) -> bool:
    """Return whether all columns of the manifest are there, with their types; other columns may be there too."""
    return all(str(rows.dtypes.get(column)) == kind for column, kind in MANIFEST.items())


def find(rows: pd.DataFrame, floors: SimilarityFloors, params: ValidationParams, docs: Path) -> list[ExpectationResult]:
    """Hold the suite against triplets with their evidence; write its Data Docs (HTML) to the folder `docs`.

    An expectation that cannot be held against the table, for want of a column or for its type, has failed.
    """
    gx = _import_great_expectations()
    context = _make_context(docs)
    asset = context.data_sources.add_pandas("triplets").add_dataframe_asset("manifest")
    suite = context.suites.add(gx.ExpectationSuite("triplets", _list_schema() + _list_contents(floors, params)))
    batch = asset.add_batch_definition_whole_dataframe("accepted")
    definition = gx.ValidationDefinition(name="triplets", data=batch, suite=suite)
    checkpoint = gx.Checkpoint(
        name="triplets",
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["docs"])],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["key"]}
        if "key" in rows
        else "SUMMARY",
    )
    run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": rows})
    (outcome,) = run.run_results.values()
    # It sorts by column; schema first reads better.
    kinds = [expectation.expectation_type for expectation in suite.expectations]
    results = sorted(outcome.results, key=lambda result: kinds.index(result.expectation_config.type))
    return [_make_finding(result.to_json_dict()) for result in results]


def _import_great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports modules that Python renamed
        import great_expectations
    return great_expectations


def _make_context(docs: Path) -> Any:
    """Return a context in memory whose only site is the folder `docs`."""
    import great_expectations as gx
    from great_expectations.data_context.types import base

    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    config = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites={"docs": {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": store}},
        progress_bars=base.ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _list_schema() -> list[Any]:
    from great_expectations import expectations as expect

    typed = [expect.ExpectColumnValuesToBeOfType(column=column, type_=kind) for column, kind in MANIFEST.items()]
    return [expect.ExpectTableColumnsToMatchSet(column_set=[*MANIFEST, *EVIDENCE]), *typed]


def _list_contents(floors: SimilarityFloors, params: ValidationParams) -> list[Any]:
    from great_expectations import expectations as expect

    mostly = 1 - params.max_rejected_fraction
    similarity_at_least = _make_similarity_expectation()
    lengths = {"min_value": 1, "max_value": params.max_text_length, "mostly": mostly}
    return [
        expect.ExpectTableRowCountToBeBetween(min_value=params.min_triplets),
        expect.ExpectColumnValuesToBeUnique(column="key"),
        *(expect.ExpectColumnValuesToNotBeNull(column=column) for column in (*NAMES, *TEXTS)),
        expect.ExpectColumnValuesToBeInSet(column="split", value_set=["train", "validation"]),
        # No test concept: the catalogue knows both pictures, and in the split the triplet says.
        *(
            expect.ExpectColumnPairValuesToBeEqual(column_A="split", column_B=column)
            for column in ("reference_split", "target_split")
        ),
        expect.ExpectCompoundColumnsToBeUnique(column_list=["reference", "target", "relative_caption"], mostly=mostly),
        *(expect.ExpectColumnValuesToNotBeNull(column=column, mostly=mostly) for column in SCORES),
        *(expect.ExpectColumnValuesToBeBetween(column=c, min_value=-1, max_value=1, mostly=mostly) for c in SCORES),
        *(similarity_at_least(column=c, floor=floor, mostly=mostly) for c, floor in floors.model_dump().items()),
        *(expect.ExpectColumnValueLengthsToBeBetween(column=column, **lengths) for column in TEXTS),
        # Both pictures decode, and neither is to be retrieved or validated with later.
        *(expect.ExpectColumnValuesToNotBeNull(column=c, mostly=mostly) for c in ("reference_pixels", "target_pixels")),
        expect.ExpectColumnValuesToBeNull(column="held_out_twin", mostly=mostly),
    ]


@cache
def _make_similarity_expectation() -> Any:
    """Return the expectation that cosines reach a floor, to the float32 precision they are stored with."""
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import ColumnMapExpectation
    from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial

    class SimilarityAtLeast(ColumnMapMetricProvider):  # type: ignore[misc]
        condition_metric_name = "column_values.similarity_at_least"
        condition_value_keys = ("floor",)

        @column_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
        def _pandas(cls, column: pd.Series, floor: float, **_: Any) -> pd.Series:
            return column >= np.float32(floor)

    class ExpectSimilarityAtLeast(ColumnMapExpectation):  # type: ignore[misc]
        """Expect cosine similarities to be at least a floor."""

        map_metric = "column_values.similarity_at_least"
        success_keys = ("floor", "mostly")
        args_keys = ("column", "floor")
        floor: float

    return ExpectSimilarityAtLeast


def _make_finding(result: dict[str, Any]) -> ExpectationResult:
    config, found = result["expectation_config"], result["result"]
    kwargs = config["kwargs"]
    columns = [kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs]
    columns += kwargs.get("column_list", [])
    named = f"{config['type']}({', '.join(columns)})" if columns else config["type"]
    keys = tuple(str(row["key"]) for row in found.get("unexpected_index_list") or [])
    observed = found.get("details", {}).get("mismatched") or found.get("observed_value", "a table it cannot look at")
    observed = "" if result["success"] or keys else str(observed)
    return ExpectationResult(named, bool(result["success"]), keys, observed, round(1 - kwargs.get("mostly", 1.0), 9))
