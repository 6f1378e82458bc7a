"""Where sample clips and weights come from: pinned files, fetched and verified by sha256."""

from dynamicrafter.assets.manifest import Asset, Source, load_manifest
from dynamicrafter.assets.store import cache_folder, fetch, path, verify

__all__ = ["Asset", "Source", "cache_folder", "fetch", "load_manifest", "path", "verify"]
