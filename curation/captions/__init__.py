"""Motion captions: from what was measured, from the source, or from a vision-language model."""
