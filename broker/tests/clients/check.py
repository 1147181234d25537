#!/usr/bin/env python3
"""check.py COUNT [--at-least-once] < lines of "partition<TAB>offset<TAB>value"

The values are the numbers 0..COUNT-1, sent in that order. Fails unless every number is there, in each partition the
numbers rise and the offsets have no gap. With --at-least-once a number may be repeated and lines of several readers
may be mixed: then only completeness is checked, and that a (partition, offset) always holds the same number.
"""
import sys

count = int(sys.argv[1])
loose = "--at-least-once" in sys.argv
seen = bytearray(count)
last, places, lines = {}, {}, 0
for line in sys.stdin:
    fields = line.rstrip("\n").split("\t")
    if len(fields) != 3:
        sys.exit("check: not three fields: %r" % line[:200])
    partition, offset, number = (int(f.split(":")[-1]) for f in fields)
    lines += 1
    if not 0 <= number < count:
        sys.exit("check: partition %d offset %d holds %d, which nobody sent" % (partition, offset, number))
    seen[number] = 1
    if loose:
        if places.setdefault((partition, offset), number) != number:
            sys.exit("check: partition %d offset %d was read as %d and as %d" % (partition, offset, places[partition, offset], number))
        continue
    before = last.get(partition)
    if before is not None and (offset != before[0] + 1 or number <= before[1]):
        sys.exit("check: partition %d: offset %d (%d) follows offset %d (%d)" % (partition, offset, number, *before))
    last[partition] = (offset, number)
missing = count - sum(seen)
if missing:
    sys.exit("check: %d of %d are missing, the first is %d" % (missing, count, seen.index(0)))
if not loose and lines != count:
    sys.exit("check: %d lines for %d records" % (lines, count))
print("    %d records, %d partitions%s" % (count, len(last) or len({p for p, _ in places}), ", %d repeated" % (lines - count) if lines > count else ""))
