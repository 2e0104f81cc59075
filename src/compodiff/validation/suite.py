"""The Great Expectations suites; nothing else imports that library, and only when it is used: that takes seconds."""

import gc
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from compodiff.params import ValidationParams
from compodiff.sets import PAIRS, SPLITS, TRIPLETS

# Columns of the rows that the suite looks at, and their types: "text" may be null where a set need not have it.
_COMMON = {"key": "str", "shard": "str", "split": "str"}
COLUMNS = {
    PAIRS: {**_COMMON, "picture": "str", "text": "str"},
    TRIPLETS: {**_COMMON, **dict.fromkeys(("reference", "target", "relation", "relative_caption"), "str")},
}
OPTIONAL = {PAIRS: (), TRIPLETS: ("reference_caption", "target_caption")}
_TEXTS = {PAIRS: ("text",), TRIPLETS: ("reference_caption", "target_caption", "relative_caption")}
SAME = {PAIRS: ("picture", "text"), TRIPLETS: ("reference", "target", "relative_caption")}  # make two rows equal


@dataclass(frozen=True)
class ExpectationResult:
    """What one expectation found in some rows.

    Attributes:
        expectation: its name, with the columns it looks at.
        passed: whether it holds for enough of these rows.
        keys: keys of the rows for which it does not hold; none where the table as a whole is at fault. Of a whole set,
            the first few.
        observed: what was seen instead, where the table as a whole is at fault.
        tolerated: the fraction of rows for which it need not hold.
        unexpected: of how many rows it does not hold.
    """

    expectation: str
    passed: bool
    keys: tuple[str, ...]
    observed: str
    tolerated: float = 0.0
    unexpected: int = 0


class Suite:
    """The suite of a kind of sets; each run over some rows adds to the Data Docs (HTML) in a folder."""

    def __init__(self, kind: str, params: ValidationParams, docs: Path) -> None:
        """Build the suite in a context whose only site is the folder `docs`."""
        gx = _import_great_expectations()
        self._make_context = _make_context(docs)
        suite = gx.ExpectationSuite(name=kind, expectations=_list_expectations(kind, params))
        self._suite = self._make_context.suites.add(suite)
        self._kind = kind

    def find(self, rows: pd.DataFrame, name: str) -> list[ExpectationResult]:
        """Hold the suite against rows, under a name for the docs.

        An expectation that cannot be held against the table, for want of a column or for its type, has failed.
        """
        gx = _import_great_expectations()
        gc.collect()  # the rows of the run before are in a circle of objects, which Python frees late
        # A source keeps the rows of all its batches in memory: each has its own.
        asset = self._make_context.data_sources.add_or_update_pandas(self._kind).add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe(name)
        definition = gx.ValidationDefinition(name=name, data=batch, suite=self._suite)
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[self._make_context.validation_definitions.add(definition)],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["docs"])],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["key"]},
        )
        run = self._make_context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": rows})
        (outcome,) = run.run_results.values()
        # It sorts by column; schema first reads better.
        kinds = [expectation.expectation_type for expectation in self._suite.expectations]
        results = sorted(outcome.results, key=lambda result: kinds.index(result.expectation_config.type))
        return [_read_finding(result.to_json_dict()) for result in results]


def _import_great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports modules that Python renamed
        import great_expectations
    return great_expectations


def _make_context(docs: Path) -> Any:
    """Make a context in memory whose only site is the folder `docs`."""
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


def _list_expectations(kind: str, params: ValidationParams) -> list[Any]:
    from great_expectations import expectations as expect

    mostly = 1 - params.max_rejected_fraction
    lengths = {"min_value": 1, "max_value": params.max_text_length, "mostly": mostly}
    pixels = ("reference_pixels", "target_pixels")
    return [
        *(expect.ExpectColumnToExist(column=column) for column in (*COLUMNS[kind], *OPTIONAL[kind])),
        *(expect.ExpectColumnValuesToNotBeNull(column=column, mostly=mostly) for column in COLUMNS[kind]),
        expect.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS)),
        # A key stands once in the whole set, in whatever shards, and so do a row's pictures with their text.
        expect.ExpectColumnValuesToBeInSet(column="is_key_repeated", value_set=[False]),
        expect.ExpectColumnValuesToBeInSet(column="is_row_repeated", value_set=[False], mostly=mostly),
        # Embeddings are finite, so that cosines are what cosines are, to the precision of float32.
        expect.ExpectColumnValuesToBeBetween(column="image_image", min_value=-1.001, max_value=1.001, mostly=mostly),
        expect.ExpectColumnValuesToNotBeNull(column="image_image", mostly=mostly),
        *(expect.ExpectColumnValueLengthsToBeBetween(column=column, **lengths) for column in _TEXTS[kind]),
        # Pictures are there and decode, and none is to be retrieved or validated with later.
        *(expect.ExpectColumnValuesToNotBeNull(column=column, mostly=mostly) for column in pixels),
        expect.ExpectColumnValuesToBeNull(column="held_out_twin", mostly=mostly),
    ]


def _read_finding(result: dict[str, Any]) -> ExpectationResult:
    config, found = result["expectation_config"], result["result"]
    kwargs = config["kwargs"]
    columns = [kwargs["column"]] if "column" in kwargs else []
    columns += kwargs.get("column_list", [])
    named = f"{config['type']}({', '.join(columns)})" if columns else config["type"]
    keys = tuple(str(row["key"]) for row in found.get("unexpected_index_list") or [])
    observed = found.get("details", {}).get("mismatched") or found.get("observed_value", "a table it cannot look at")
    observed = "" if result["success"] or keys else str(observed)
    tolerated = round(1 - kwargs.get("mostly", 1.0), 9)
    return ExpectationResult(named, bool(result["success"]), keys, observed, tolerated, len(keys))
