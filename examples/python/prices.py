"""A broadcast from one process to several, each at its own pace: one that keeps up, which the
sender waits for, and one that naps and is told how much it missed.

    python3 prices.py recv ipc://prices              # one terminal: reads everything
    python3 prices.py nap ipc://prices               # another: reads once you press Enter
    python3 prices.py send ipc://prices 100000 2     # a third: to these 2 receivers
"""

import sys
import time

import psyne

# The same in every language: its name and fields are checked when the two sides meet.
Price = psyne.Struct("Price", instrument="u64", price="f64")
# A ring of 128, the next power of two that leaves an eighth more; who naps finds the last 112.
SLOTS = 100


def receiver(address, lag):
    return psyne.Receiver(address, Price.layout, pattern="broadcast", lag=lag)


def nap(address):
    with receiver(address, "skip") as prices:
        print("napping until you press Enter", flush=True)
        sys.stdin.readline()
        receive(prices)


def receive(prices):
    received, missed, total = 0, 0, 0.0
    while True:
        try:
            total += Price.unpack(prices.recv()).price
            received += 1
        except psyne.Lagged as lagged:
            missed += lagged.number
        except psyne.Closed:
            break
    print(f"received {received} prices, missed {missed}, sum {total:.1f}")


def send(address, count, readers):
    with psyne.Sender(address, Price.layout, pattern="broadcast", slots=SLOTS) as prices:
        # Who comes later hears only what is sent from then on.
        while prices.receivers() < readers:
            time.sleep(0.001)
        for number in range(count):
            prices.send(Price.pack(instrument=number, price=number / 2))
    print(f"sent {count} prices")


match sys.argv[1:]:
    case ["recv", address]:
        receive(receiver(address, "block"))
    case ["nap", address]:
        nap(address)
    case ["send", address, count, readers]:
        send(address, int(count), int(readers))
    case ["--help"]:
        print(__doc__)
    case _:
        sys.exit(__doc__)
