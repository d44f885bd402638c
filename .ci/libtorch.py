"""Takes out of Python packages what a libtorch for CPUs consists of.

Usage: libtorch.py PACKAGES FOLDER, where PACKAGES is a folder of wheels. Headers come to FOLDER/include, shared
libraries to FOLDER/lib; what is only for GPUs or for Python stays behind, which is most of it.
"""

import shutil
import sys
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

# All that a program for CPUs loads, but for `libtorch.so`, which is linked anew.
LIBRARIES = {"libc10.so", "libgomp.so.1", "libshm.so", "libtorch_cpu.so", "libcudart.so.13", "libcupti.so.13"}


def main(packages: Path, folder: Path) -> None:
    missing = set(LIBRARIES)
    for package in sorted(packages.glob("*.whl")):
        with ZipFile(package) as archive:
            for member in archive.infolist():
                place = place_of(PurePosixPath(member.filename))
                if place is None or member.is_dir():
                    continue
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(target, "wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                missing.discard(target.name)
    if missing:
        sys.exit(f"the packages lack {', '.join(sorted(missing))}")


def place_of(member: PurePosixPath) -> PurePosixPath | None:
    """Where a file of a package goes, if it is wanted."""
    if member.parts[:2] == ("torch", "include"):
        return member.relative_to("torch")
    if member.name in LIBRARIES:
        return PurePosixPath("lib", member.name)
    if "licenses" in member.parts:
        return PurePosixPath(*member.parts[member.parts.index("licenses") :])
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
