"""Byte strings of 64 KiB between two processes, by the fast door: a frame is written where it is
read, and nothing is copied.

    python3 frames.py recv ipc://frames
    python3 frames.py send ipc://frames 10000
"""

import sys
import time

import numpy
import psyne

FRAME_BYTES = 64 << 10
# Lines of 64 bytes: 4 MiB.
SLOTS = 1 << 16


def receive(address):
    count, total = 0, 0
    with psyne.Receiver(address) as frames:
        for frame in frames:
            total += int(numpy.frombuffer(frame, numpy.uint8).sum())
            count += 1
    print(f"received {count} frames, sum {total}")


def send(address, count):
    with psyne.Sender(address, slots=SLOTS) as frames:
        for number in range(count):
            with frames.loan(FRAME_BYTES) as room:
                numpy.frombuffer(room, numpy.uint8)[:] = number % 256
        # Frames lie in this process's ring: wait until all of them were read.
        while frames.unread() > 0:
            time.sleep(0.001)
    print(f"sent {count} frames")


match sys.argv[1:]:
    case ["recv", address]:
        receive(address)
    case ["send", address, count]:
        send(address, int(count))
    case ["--help"]:
        print(__doc__)
    case _:
        sys.exit(__doc__)
