"""Mean and standard deviation of the test metrics of runs: `python benchmarks/seeds.py FOLDER ...`."""

import json
import statistics
import sys
from pathlib import Path

FIGURES = ("accuracy", "balanced_accuracy", "auroc", "escape_rate", "overkill_rate")


def main(folders: list[str]) -> None:
    for folder in folders:
        runs = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("**/metrics.json"))]
        tests = [run["test"] for run in runs if "test" in run]
        print(f"{folder}: {len(tests)} runs, {tests[0]['n'] if tests else 0} test photos each")
        for name in FIGURES:
            values = [test[name]["value"] for test in tests if test[name]["value"] is not None]
            if values:
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                low, high = min(values), max(values)
                print(f"  {name:18} {statistics.mean(values):.3f} +- {spread:.3f}   ({low:.3f} to {high:.3f})")
        seconds = [sum(run["timing_s"].values()) for run in runs]
        if seconds:
            print(f"  seconds a run      {statistics.median(seconds):.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
