"""The patterns with many ends, events, and calls under way. PYTHONPATH has the package."""

import os
import time
import unittest

import psyne

Number = psyne.Struct("Number", value="u64")


class Patterns(unittest.TestCase):
    def setUp(self):
        self.address = f"memory://{self.id()[-40:]}-{os.getpid()}"

    def test_many_send_to_one(self):
        for scheme in ("memory", "ipc"):
            address = self.address.replace("memory", scheme)
            receiver = psyne.Receiver(address, Number.layout, pattern="mpsc")
            senders = [psyne.Sender(address, Number.layout, pattern="mpsc") for _ in range(3)]
            for value, sender in enumerate(senders):
                sender.send(Number.pack(value))
                sender.close()
            received = sorted(Number.unpack(message).value for message in receiver)
            self.assertEqual(received, [0, 1, 2])
            with self.assertRaises(psyne.Error) as raised:
                psyne.Receiver(address, Number.layout, pattern="mpsc")
            self.assertEqual((raised.exception.code, raised.exception.number), ("crowded", 1))

    def test_each_of_many_takes_some(self):
        for pattern in ("spmc", "mpmc"):
            address = self.address.replace("memory", "ipc") + pattern
            sender = psyne.Sender(address, Number.layout, pattern=pattern)
            takers = [psyne.Receiver(address, Number.layout, pattern=pattern) for _ in range(3)]
            for value, taker in enumerate(takers):
                sender.send(Number.pack(value))
                self.assertEqual(Number.unpack(taker.recv(60)).value, value)
            self.assertEqual(sender.unread(), 0)
            if pattern == "mpmc":
                beside = psyne.Sender(address, Number.layout, pattern=pattern)
                beside.send(Number.pack(7))
                self.assertEqual(Number.unpack(takers[1].recv(60)).value, 7)
                beside.close()
            sender.close()
            self.assertRaises(psyne.Closed, takers[0].recv, 60)

    def come(self, sender, count, **options):
        receiver = psyne.Receiver(self.address, pattern="broadcast", **options)
        while sender.receivers() < count:
            time.sleep(0.001)
        return receiver

    def test_strings_are_broadcast_with_marks(self):
        sender = psyne.Sender(self.address, pattern="broadcast", slots=64)
        keen = self.come(sender, 1)
        sender.send(b"key", mark=True)
        sender.send(b"more")
        late = self.come(sender, 2, lag="skip_to_mark", at_mark=True)
        for receiver in (keen, late):
            self.assertEqual(bytes(receiver.recv(60)), b"key")
            self.assertEqual(bytes(receiver.recv(60)), b"more")
            self.assertRaises(psyne.TimedOut, receiver.recv, timeout=0)
        for number in range(200):
            loan = sender.loan(4)
            memoryview(loan)[:] = b"loan"
            if number == 199:
                loan.mark()
            loan.commit()
            self.assertRaises(ValueError, loan.mark)
            self.assertEqual(bytes(keen.recv(60)), b"loan")
        with self.assertRaises(psyne.Lagged) as raised:
            late.recv(60)
        self.assertEqual(raised.exception.number, 199)
        self.assertEqual(bytes(late.recv(60)), b"loan")
        queue = psyne.Sender(self.address + "q")
        self.assertRaises(psyne.Error, queue.send, b"x", mark=True)
        self.assertRaises(psyne.Error, queue.loan(1).mark)

    def test_events_are_counted(self):
        address = self.address.replace("memory", "ipc")
        notifier = psyne.Notifier(address)
        listener = psyne.Listener(address)
        other = psyne.Notifier(self.address)
        listener.join(psyne.Listener(self.address))
        self.assertIsNone(listener.try_wait())
        self.assertRaises(psyne.TimedOut, listener.wait, timeout=0)
        for _ in range(3):
            notifier.notify(63)
        other.notify(0)
        seen = {}
        while len(seen) < 2:
            for event, count in listener.wait(60).items():
                seen[event] = seen.get(event, 0) + count
        self.assertEqual(seen, {0: 1, 63: 3})
        self.assertRaises(ValueError, notifier.notify, 64)
        self.assertRaises(OverflowError, notifier.notify, -1)
        notifier.notify(1)
        notifier.close()
        other.close()
        self.assertEqual(list(listener), [{1: 1}])
        self.assertRaises(psyne.Closed, listener.wait)
        self.assertRaises(ValueError, notifier.notify, 1)
        listener.close()
        self.assertRaises(ValueError, listener.wait)

    def test_calls_end_in_any_order(self):
        server = psyne.Server(self.address, Number.layout, Number.layout)
        client = psyne.Client(self.address, Number.layout, Number.layout)
        calls = [client.begin(Number.pack(value)) for value in range(8)]
        with self.assertRaises(psyne.Full):
            client.begin(Number.pack(8))
        self.assertRaises(psyne.TimedOut, calls[0].finish, timeout=0)
        for _ in calls:
            server.reply(Number.pack(Number.unpack(server.next(60)).value * 10))
        for value, call in reversed(list(enumerate(calls))):
            self.assertEqual(Number.unpack(call.finish(60)).value, value * 10)
            self.assertRaises(ValueError, call.finish)
        forgotten = client.begin(Number.pack(1))
        forgotten.forget()
        self.assertRaises(ValueError, forgotten.finish)
        refused = client.begin(Number.pack(2))
        while Number.unpack(server.next(60)).value != 2:
            pass
        server.refuse()
        self.assertRaises(psyne.Refused, refused.finish)
        lost = client.begin(Number.pack(3))
        client.close()
        self.assertRaises(ValueError, lost.finish)


if __name__ == "__main__":
    unittest.main()
