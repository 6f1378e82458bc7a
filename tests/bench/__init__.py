"""Speed of the parts, each beside what the same machine did in the same run.

`python -m tests.bench` (`make bench`) prints the table; docs/performance.md says how to read it.
"""
