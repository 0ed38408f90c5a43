"""A queue of structs between two processes, by the simple door: send and receive.

    python3 ticks.py recv ipc://ticks
    python3 ticks.py send ipc://ticks 100000
"""

import sys
import time

import psyne

# The same in every language: its name and fields are checked when the two sides meet.
Tick = psyne.Struct("Tick", instrument="u64", price="f64")


def receive(address):
    count, total = 0, 0.0
    with psyne.Receiver(address, Tick.layout) as ticks:
        for message in ticks:
            tick = Tick.unpack(message)
            if tick.instrument != count:
                sys.exit(f"tick {tick.instrument} came in the place of {count}")
            count += 1
            total += tick.price
    print(f"received {count} ticks, sum {total:.1f}")


def send(address, count):
    with psyne.Sender(address, Tick.layout) as ticks:
        for number in range(count):
            ticks.send(Tick.pack(instrument=number, price=number / 2))
        # Messages lie in this process's ring: wait until all of them were read.
        while ticks.unread() > 0:
            time.sleep(0.001)
    print(f"sent {count} ticks")


match sys.argv[1:]:
    case ["recv", address]:
        receive(address)
    case ["send", address, count]:
        send(address, int(count))
    case ["--help"]:
        print(__doc__)
    case _:
        sys.exit(__doc__)
