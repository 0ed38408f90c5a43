"""A latest value between processes: a setting whose newest state everybody sees. The writer never
waits; a reader sees the newest temperature, and may miss those before.

    python3 thermostat.py watch ipc://thermostat     # one terminal
    python3 thermostat.py set ipc://thermostat       # another: a temperature a line, then Ctrl-D
"""

import sys

import psyne

# The same in every language: its name and fields are checked when the two sides meet.
Target = psyne.Struct("Target", celsius="f64")


def watch(address):
    with psyne.Receiver(address, Target.layout, pattern="latest") as target:
        while True:
            try:
                print(f"heating to {Target.unpack(target.recv()).celsius:.1f}", flush=True)
            except psyne.PeerDied as died:
                print(f"process {died.number} died: waiting for another", flush=True)
            except psyne.Closed:
                break
        # Not only its changes: the newest value can be looked at whenever it is needed.
        if newest := target.newest():
            print(f"stays at {Target.unpack(newest).celsius:.1f}")


def set_target(address):
    with psyne.Sender(address, Target.layout, pattern="latest") as target:
        for line in sys.stdin:
            target.send(Target.pack(celsius=float(line)))


match sys.argv[1:]:
    case ["watch", address]:
        watch(address)
    case ["set", address]:
        set_target(address)
    case ["--help"]:
        print(__doc__)
    case _:
        sys.exit(__doc__)
