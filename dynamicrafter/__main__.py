"""`python -m dynamicrafter` is the console command."""

from dynamicrafter.cli import main

main()
