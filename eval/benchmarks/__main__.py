"""`dynamicrafter eval select` and `python -m eval.benchmarks`."""

import sys

from dynamicrafter.command import command, exit_code

main = command("eval_select", "eval.benchmarks.select")

if __name__ == "__main__":
    sys.exit(exit_code(main))
