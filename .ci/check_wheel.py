"""Compare a wheel with the tracked files of the package folders; exit 1 where they differ."""

import subprocess
import sys
import zipfile
from pathlib import Path

FOLDERS = ("certify", "cli", "fixtures", "reproduction", "trainers")


def main() -> int:
    """Print what the wheel lacks or should not hold; return the exit status."""
    tracked = subprocess.run(
        ["git", "ls-files", *FOLDERS], capture_output=True, text=True, check=True
    ).stdout.split()
    expected = {f"robcert/{name}" for name in tracked if not name.endswith(".md")}
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("robcert/")}
    for name in sorted(expected - packed):
        sys.stdout.write(f"missing from the wheel: {name}\n")
    for name in sorted(packed - expected):
        sys.stdout.write(f"in the wheel but not in git: {name}\n")
    if expected == packed:
        sys.stdout.write(f"{Path(sys.argv[1]).name}: {len(packed)} files, as in git\n")
    return int(expected != packed)


if __name__ == "__main__":
    sys.exit(main())
