"""A queue of work whose worker may be killed at any instant: another takes its place, and nothing
is lost. The job that the dead one was about may be done again, and no other.

    python3 jobs.py give ipc://jobs 10000     # one terminal
    python3 jobs.py work ipc://jobs 5000      # another: kills itself (-9) amid its 5000th job
    python3 jobs.py work ipc://jobs           # the same again, without accident

Jobs go by one queue, results by another. A job is released after its result was sent: whoever
dies in between leaves it to its successor.
"""

import os
import signal
import sys

import psyne

# The same in every language: its name and fields are checked when the two sides meet.
Job = psyne.Struct("Job", number="u64")
Done = psyne.Struct("Done", number="u64", square="u64")
# Jobs given out and not done yet: fewer than the queues have slots, so that nobody waits for room.
AHEAD_MAX = 500


def give(address, count):
    given, done, again, died = 0, 0, 0, 0
    with (
        psyne.Sender(f"{address}/jobs", Job.layout) as jobs,
        psyne.Receiver(f"{address}/done", Done.layout) as results,
    ):
        while done < count:
            while given < count and given - done < AHEAD_MAX:
                jobs.send(Job.pack(number=given))
                given += 1
            try:
                result = Done.unpack(results.recv())
            except psyne.PeerDied:
                died += 1
                continue
            # Each worker does its jobs in order, and its successor goes on where it stopped.
            if result.number == done and result.square == result.number**2:
                done += 1
            elif result.number + 1 == done:
                again += 1
            else:
                sys.exit(f"{result.number} was done in the place of {done}")
    print(f"{count} jobs done, {again} done again, {died} workers died")


def work(address, last):
    count = 0
    with (
        psyne.Receiver(f"{address}/jobs", Job.layout) as jobs,
        psyne.Sender(f"{address}/done", Done.layout) as results,
    ):
        for message in jobs:
            job = Job.unpack(message)
            results.send(Done.pack(number=job.number, square=job.number**2))
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            # The job is released when the next one is received.
    print(f"did {count} jobs")


match sys.argv[1:]:
    case ["give", address, count]:
        give(address, int(count))
    case ["work", address, *last]:
        work(address, *map(int, last or [0]))
    case ["--help"]:
        print(__doc__)
    case _:
        sys.exit(__doc__)
