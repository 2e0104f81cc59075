"""Models by name: which ones the project knows, what lies in the hub's cache, and what fetches and publishes them.

Only `fetch_model` and the functions of `uploading` use the network; everything else reads the cache.
"""

from compodiff.hub.cache import FetchedModel, find_fetched_folder, find_model, find_model_folder
from compodiff.hub.known import KnownModel, read_known

__all__ = ["FetchedModel", "KnownModel", "find_fetched_folder", "find_model", "find_model_folder", "read_known"]
