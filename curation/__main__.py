"""`dynamicrafter curate` and `python -m curation`."""

import sys

from dynamicrafter.command import command, exit_code

main = command("curate", "curation.pipeline")

if __name__ == "__main__":
    sys.exit(exit_code(main))
