"""`python -m vidmem.recipes [all|tower|clip|language|tracker|install]`: train the embedded models anew.

On two CPU cores it takes hours. Every stage resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

TRAINED = {"tower": 3000, "clip": 700, "language": 10200}
"""Steps of each stage that has one lesson; the tracker's course has several."""
STAGES = (*TRAINED, "tracker", "install")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", default="all", choices=("all", *STAGES))
    parser.add_argument("--run", type=Path, default=Path(".runs"), help="where states and logs go")
    parser.add_argument("--steps", type=int, help="of one stage, where another number than the recipe's is wanted")
    parser.add_argument(
        "--go-on",
        action="store_true",
        help="start from the kept tower, the installed weights",
    )
    options = parser.parse_args()
    if options.steps is not None and options.stage not in TRAINED:
        parser.error("--steps goes with one of " + ", ".join(TRAINED))
    run: Path = options.run
    run.mkdir(parents=True, exist_ok=True)
    steps = TRAINED | ({} if options.steps is None else {options.stage: options.steps})
    wanted = STAGES if options.stage == "all" else (options.stage,)
    if "tower" in wanted:
        from vidmem.recipes import tower

        tower.train(run, steps=steps["tower"], batch=64, peak_rate=1.5e-3, seed=1, go_on=options.go_on)
    if "clip" in wanted:
        from vidmem.recipes import clip

        clip.train(run, steps=steps["clip"], batch=64, peak_rate=1e-3, seed=5)
    if "language" in wanted:
        from vidmem.recipes import language

        language.train(
            run,
            steps=steps["language"],
            peak_rate=1e-3,
            seed=2,
            bank_size=2800,
            tokens_per_batch=6500,
            go_on=options.go_on,
        )
    if "tracker" in wanted:
        from vidmem.recipes import tracker

        tracker.train(run, tracker.Course(), go_on=options.go_on)
    if "install" in wanted:
        from vidmem.recipes import install

        install.keep_tower(run)
        install.install_clip(run)
        install.install_language(run)
        install.install_tracker(run)
        install.keep_heads(run)


if __name__ == "__main__":
    main()
