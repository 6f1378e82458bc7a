"""`dynamicrafter train` and `python -m train`."""

import sys

from dynamicrafter.command import command, exit_code

main = command("train", "train.recipe")

if __name__ == "__main__":
    sys.exit(exit_code(main))
