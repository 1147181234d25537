#!/usr/bin/env python3
"""pace.py RATE < lines: passes RATE lines a second on, in twenty portions a second."""
import sys, time

rate = int(sys.argv[1])
portion, begin, sent = max(1, rate // 20), time.monotonic(), 0
for line in sys.stdin:
    sys.stdout.write(line)
    sent += 1
    if sent % portion == 0:
        sys.stdout.flush()
        time.sleep(max(0, begin + sent / rate - time.monotonic()))
