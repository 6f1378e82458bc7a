"""`dynamicrafter eval study-score` and `python -m eval.study.score`."""

import sys

from dynamicrafter.command import command, exit_code

main = command("eval_study_score", "eval.study.scoring")

if __name__ == "__main__":
    sys.exit(exit_code(main))
