"""compare.py KAFKA OURS DIFFERENCES: the lines of two runs of AdminSurface.

A difference must be listed in DIFFERENCES, a table whose first column is a pattern (fnmatch) of what was called, and every
pattern must have met one.
"""
import fnmatch
import re
import sys


def read(path):
    lines = {}
    for line in open(path, encoding="utf-8"):
        what, _, result = line.rstrip("\n").partition(" | ")
        lines.setdefault(what, []).append(result)
    return lines


kafka, ours = read(sys.argv[1]), read(sys.argv[2])
patterns = re.findall(r"^\| `([^`]+)` \|", open(sys.argv[3], encoding="utf-8").read(), re.M)
met, unexpected, equal = set(), 0, 0
for what in [*kafka, *(what for what in ours if what not in kafka)]:
    left, right = kafka.get(what), ours.get(what)
    if left == right:
        equal += 1
        continue
    known = [one for one in patterns if fnmatch.fnmatchcase(what, one.replace("[", "[[]"))]
    met.update(known)
    if not known:
        unexpected += 1
        print(what)
        for line in left or ["(nothing)"]:
            print("  kafka  ", line)
        for line in right or ["(nothing)"]:
            print("  corelog", line)
for one in patterns:
    if one not in met:
        unexpected += 1
        print(f"{one}: listed as a difference, but there is none")
print(f"{equal} answers are the same, {len(kafka.keys() | ours.keys()) - equal} differ, {unexpected} of them unexpectedly")
sys.exit(1 if unexpected else 0)
