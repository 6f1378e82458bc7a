"""`dynamicrafter <verb> [settings]`: from a verb to the main of a room.

The only place of the ground floor that names the other rooms, and only by the text of their module:
nothing is imported before the verb is known, so that help answers at once.
"""

import importlib
import sys

VERBS = {
    "demo": ("dynamicrafter.demo", "the whole chain on real clips, from assets to report"),
    "assets": ("dynamicrafter.assets.command", "list, fetch and verify sample clips and weights"),
    "assets inspect": ("dynamicrafter.model.inspect", "what a checkpoint is; official layout"),
    "curate": ("curation.__main__", "videos → measured, filtered, captioned WebDataset shards"),
    "curate plan": ("curation.commands.plan", "hours, money and terabytes, from a probe"),
    "curate status": ("curation.commands.status", "how far a run is, and what it dropped"),
    "curate sweep": (
        "curation.commands.sweep",
        "what other thresholds would keep",
    ),
    "curate purity": ("curation.commands.purity", "how purely captions tell of motion"),
    "curate review": ("curation.commands.review", "a page on which people judge captions"),
    "curate review-score": ("curation.commands.review_score", "what reviewers say of captions"),
    "curate verify-source": (
        "curation.commands.verify_source",
        "what is missing or broken",
    ),
    "curate export-csv": ("curation.commands.export_csv", "the public eight DCP columns"),
    "curate recaption": ("curation.commands.recaption", "new motion captions for old shards"),
    "curate opt-out": (
        "curation.commands.opt_out",
        "take clips out of shards and tables",
    ),
    "plan curate": ("curation.commands.plan", "the same as curate plan"),
    "train": ("train.__main__", "the stages of the recipe, resumable"),
    "train which-clips": ("train.which_clips", "the clips of any step of a run"),
    "train plan": ("train.plan.command", "tensors, FLOP, memory, and the settings that fit"),
    "plan train": ("train.plan.command", "the same as train plan"),
    "ablate": ("train.ablation.command", "arms × seeds: train, animate, eval each; one table"),
    "animate": ("dynamicrafter.animate", "image + prompt → video"),
    "animate gates": ("dynamicrafter.gates_run", "λ of every layer: read, plotted, tried out"),
    "eval": ("eval.__main__", "FVD, KVD, PIC and CLIP-SIM under a named protocol"),
    "eval select": ("eval.benchmarks.__main__", "choose a benchmark's windows; integrity report"),
    "eval generate": ("eval.generate", "videos of another method for the same inputs"),
    "eval benchmark": ("eval.benchmark", "select, animate and evaluate, one after the other"),
    "eval compare": ("eval.compare", "several methods in one table, with paired differences"),
    "eval ablation": ("eval.ablation", "the paper's Table 3 of what ablate found"),
    "eval sensitivity": ("eval.sensitivity", "what FVD sees of spoiled videos, and what not"),
    "eval study": ("eval.study.__main__", "a blind page on which people compare methods"),
    "eval study-score": ("eval.study.score", "what the answers of a study say"),
    "bench": ("dynamicrafter.bench.command", "how fast training and sampling are here"),
    "report": ("eval.report", "one self-contained HTML page from the run folders"),
}

HELP = """\
Image animation after DynamiCrafter: curate, train, animate, evaluate.

usage: dynamicrafter <verb> [name=value …]
       dynamicrafter <verb> --help     the verb's settings and their defaults

verbs:
{verbs}

Settings are Hydra overrides; files under conf/ hold the defaults. A run folder is resumed by the
same command. Exit codes: 0 done, 2 bad input, 3 too much data failed, 4 the machine (disk, lock,
network), 5 loss not finite, 130 interrupted.
"""


def main() -> None:
    """Entry point of the console command."""
    arguments = sys.argv[1:]
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        verbs = "\n".join(f"  {name:<22}{what}" for name, (_, what) in VERBS.items())
        sys.stdout.write(HELP.format(verbs=verbs))
        return
    if verb == "--version":
        from dynamicrafter import __version__

        sys.stdout.write(f"dynamicrafter {__version__}\n")
        return

    from dynamicrafter.command import exit_code, say

    if " ".join(arguments[:2]) in VERBS:
        verb, arguments = " ".join(arguments[:2]), arguments[1:]
    if verb not in VERBS:
        say(f"dynamicrafter: there is no verb {verb!r}; the verbs are {', '.join(VERBS)}")
        sys.exit(2)
    sys.argv = [f"dynamicrafter {verb}", *arguments[1:]]
    sys.exit(exit_code(lambda: importlib.import_module(VERBS[verb][0]).main()))


if __name__ == "__main__":
    main()
