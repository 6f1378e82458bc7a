"""`dynamicrafter eval study` and `python -m eval.study`."""

import sys

from dynamicrafter.command import command, exit_code

main = command("eval_study", "eval.study.prepare")

if __name__ == "__main__":
    sys.exit(exit_code(main))
