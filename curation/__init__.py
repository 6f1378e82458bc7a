"""From videos to measured, filtered, captioned WebDataset shards."""
