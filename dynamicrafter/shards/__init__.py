"""The sample format: tar shards that any WebDataset tool reads, written once, read by index.

The bytes of a shard folder are a function of its samples and the config digest alone, so equal
curation runs can be compared by one digest.
"""

from dynamicrafter.shards.cache import BlockCache
from dynamicrafter.shards.reader import ShardReader
from dynamicrafter.shards.sample import Sample, may_be_passed_on, sample_key
from dynamicrafter.shards.writer import write_manifest, write_shard, write_shards

__all__ = [
    "BlockCache",
    "Sample",
    "ShardReader",
    "may_be_passed_on",
    "sample_key",
    "write_manifest",
    "write_shard",
    "write_shards",
]
