"""The settings of flows/ stand before any test here imports Prefect."""

import flows  # noqa: F401
