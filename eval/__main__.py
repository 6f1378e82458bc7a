"""`dynamicrafter eval` and `python -m eval`."""

import sys

from dynamicrafter.command import command, exit_code

main = command("eval", "eval.pipeline")

if __name__ == "__main__":
    sys.exit(exit_code(main))
