"""`dynamicrafter ablate`."""

from dynamicrafter.command import command

main = command("ablate", "train.ablation.matrix")
