"""The commands beside `curate` itself: plan, status, sweep, verify-source, export-csv, opt-out."""
