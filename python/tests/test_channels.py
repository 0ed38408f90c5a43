"""What Python can do with a channel, and what it is kept from. PYTHONPATH has the package."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

import numpy
import psyne

Tick = psyne.Struct("Tick", instrument="u64", price="f64")


class Channels(unittest.TestCase):
    def setUp(self):
        self.address = f"memory://{self.id()[-40:]}-{os.getpid()}"

    def pair(self, layout=None, **options):
        receiver = psyne.Receiver(self.address, layout)
        sender = psyne.Sender(self.address, layout, **options)
        self.addCleanup(gc.collect)
        return sender, receiver

    def test_an_array_is_a_view_of_the_message(self):
        sender, receiver = self.pair(slots=4096)
        with sender.loan(4096) as room:
            numpy.frombuffer(room, numpy.float32)[:] = 1.5
        message = receiver.recv()
        array = numpy.frombuffer(message, numpy.float32)
        self.assertEqual(array.sum(), 1.5 * 1024)
        self.assertFalse(array.flags.owndata)
        self.assertFalse(array.flags.writeable)
        self.assertEqual(array.ctypes.data % 64, 0)

    def test_what_is_looked_at_is_not_taken_away(self):
        sender, receiver = self.pair()
        sender.send(b"one")
        sender.send(b"two")
        message = receiver.recv()
        view = memoryview(message)
        for attempt in (message.release, receiver.recv, receiver.close):
            self.assertRaises(BufferError, attempt)
        self.assertEqual(bytes(view), b"one")
        view.release()
        self.assertEqual(bytes(receiver.recv()), b"two")
        self.assertRaises(BufferError, memoryview, message)

    def test_a_loan_is_sent_once_or_never(self):
        sender, receiver = self.pair()
        with self.assertRaises(KeyError), sender.loan(3):
            raise KeyError
        loan = sender.loan(3)
        self.assertRaises(BufferError, sender.send, b"x")
        view = memoryview(loan)
        self.assertRaises(BufferError, loan.commit)
        view[:] = b"abc"
        view.release()
        loan.commit()
        self.assertRaises(ValueError, loan.commit)
        self.assertRaises(BufferError, memoryview, loan)
        forgotten = sender.loan(3)
        del forgotten
        sender.send(b"def")
        self.assertEqual(bytes(receiver.recv()), b"abc")
        self.assertEqual(bytes(receiver.recv()), b"def")
        self.assertRaises(psyne.TimedOut, receiver.recv, timeout=0.01)

    def test_a_loop_ends_with_the_channel(self):
        sender, receiver = self.pair(Tick.layout)
        with sender:
            for number in range(5):
                sender.send(Tick.pack(instrument=number, price=0.5))
        ticks = [Tick.unpack(message) for message in receiver]
        self.assertEqual([tick.instrument for tick in ticks], [0, 1, 2, 3, 4])
        with self.assertRaises(psyne.Closed) as raised:
            receiver.recv()
        self.assertEqual(raised.exception.code, "closed")

    def test_structs_are_numpy_records_too(self):
        Pose = psyne.Struct("Pose", time_us="u64", values=("f32", 6))
        self.assertEqual(Pose.dtype.itemsize, Pose.layout.size)
        packed = Pose.pack(7, (1, 2, 3, 4, 5, 6))
        self.assertEqual(numpy.frombuffer(packed, Pose.dtype)["values"].sum(), 21)
        self.assertEqual(Pose.unpack(packed).values, (1, 2, 3, 4, 5, 6))
        self.assertRaises(ValueError, psyne.Struct, "Gap", small="u8", large="u64")
        self.assertRaises(ValueError, Pose.pack, 7, (1, 2))

    def test_misuse_is_said(self):
        self.assertRaises(psyne.Error, psyne.Receiver, "tcp://x")
        self.assertRaises(ValueError, psyne.Sender, self.address, wait="forever")
        sender, receiver = self.pair()
        self.assertRaises(ValueError, sender.send, numpy.zeros((4, 4))[:, 1])
        self.assertRaises(TypeError, sender.send, "text")
        with self.assertRaises(psyne.Error) as raised:
            sender.send(bytes(1 << 20))
        self.assertEqual(raised.exception.code, "too_long")
        self.assertGreater(raised.exception.number, 0)
        self.assertRaises(ValueError, receiver.recv, timeout=-1)
        sender.close()
        self.assertRaises(ValueError, sender.send, b"x")

    def test_a_full_channel_does_what_was_agreed(self):
        sender, _receiver = self.pair(slots=8, full="refuse")
        with self.assertRaises(psyne.Full):
            for _ in range(1000):
                sender.send(b"x")
        self.assertGreater(sender.stats()["refused"], 0)

    def test_a_broadcast_says_what_was_missed(self):
        sender = psyne.Sender(self.address, Tick.layout, pattern="broadcast", slots=100)
        keen = psyne.Receiver(self.address, Tick.layout, pattern="broadcast")
        late = psyne.Receiver(self.address, Tick.layout, pattern="broadcast", lag="skip")
        while sender.receivers() < 2:
            time.sleep(0.001)
        for number in range(1000):
            sender.send(Tick.pack(instrument=number, price=0.5))
            self.assertEqual(Tick.unpack(keen.recv()).instrument, number)
        with self.assertRaises(psyne.Lagged) as raised:
            late.recv()
        self.assertEqual(Tick.unpack(late.recv()).instrument, raised.exception.number)
        self.assertRaises(psyne.Error, late.newest)

    def test_a_latest_value_is_the_newest(self):
        writer = psyne.Sender(self.address, Tick.layout, pattern="latest")
        reader = psyne.Receiver(self.address, Tick.layout, pattern="latest")
        self.assertIsNone(reader.newest())
        for number in range(1, 4):
            writer.send(Tick.pack(instrument=number, price=0.5))
        self.assertEqual(Tick.unpack(reader.recv()).instrument, 3)
        self.assertRaises(psyne.TimedOut, reader.recv, timeout=0)
        writer.close()
        self.assertRaises(psyne.Closed, reader.recv)
        self.assertEqual(Tick.unpack(reader.newest()).instrument, 3)

    def test_requests_are_answered_refused_or_given_up(self):
        Number = psyne.Struct("Number", value="u64")
        server = psyne.Server(self.address, Number.layout, Number.layout)
        client = psyne.Client(self.address, Number.layout, Number.layout)

        def serve():
            for request in server:
                value = Number.unpack(request).value
                if value > 1:
                    server.reply(Number.pack(value * 2))

        thread = threading.Thread(target=serve)
        thread.start()
        self.assertEqual(Number.unpack(client.call(Number.pack(21))).value, 42)
        self.assertRaises(psyne.Refused, client.call, Number.pack(1))
        self.assertRaises(psyne.Error, client.call, b"short")
        client.close()
        thread.join(60)
        self.assertFalse(thread.is_alive())
        self.assertRaises(psyne.Error, server.reply, Number.pack(1))
        self.assertRaises(psyne.TimedOut, server.next, timeout=0)
        late = psyne.Client(self.address, Number.layout, Number.layout)
        self.assertRaises(psyne.TimedOut, late.call, Number.pack(2), timeout=0)
        self.assertRaises(ValueError, client.call, Number.pack(2))

    def test_patterns_have_what_they_need(self):
        for options in ({"pattern": "gossip"}, {"pattern": "latest"}, {"lag": "never"}):
            self.assertRaises(ValueError, psyne.Receiver, self.address, None, **options)

    def test_waiting_leaves_other_threads_running(self):
        sender, receiver = self.pair()
        threading.Timer(0.1, lambda: sender.send(b"late")).start()
        self.assertEqual(bytes(receiver.recv(timeout=30)), b"late")

    def test_ctrl_c_is_heard(self):
        code = f"import psyne; print('up', flush=True); psyne.Receiver('{self.address}').recv()"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1)
        child.stdout.readline()
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        self.assertIn(b"KeyboardInterrupt", errors)

    def test_wrong_use_is_said(self):
        sender, receiver = self.pair(Tick.layout)
        for wrong in (b"", b"x" * 15, b"x" * 17, numpy.zeros(4), numpy.zeros((2, 2), "c8")):
            with self.assertRaises(psyne.Error) as raised:
                sender.send(wrong)
            self.assertEqual((raised.exception.code, raised.exception.number), ("too_long", 16))
        for wrong in (None, 7, "text", object()):
            self.assertRaises(TypeError, sender.send, wrong)
        self.assertRaises(psyne.Error, sender.loan, 17)
        self.assertRaises(OverflowError, sender.loan, -1)
        for timeout in (-1, float("nan"), "soon"):
            self.assertRaises((ValueError, TypeError), receiver.recv, timeout=timeout)
        sender.send(Tick.pack(1, 2))
        self.assertEqual(len(receiver.recv(timeout=1e300)), 16)
        for name in ("", "x", "ipc://", "tcp://x", "ipc://a b", "ipc://" + "x" * 65, "ipc://ä"):
            with self.assertRaises(psyne.Error) as raised:
                psyne.Sender(name)
            self.assertEqual(raised.exception.code, "address")
        self.assertRaises(psyne.Error, psyne.Sender, self.address + "x", slots=0)
        self.assertRaises(psyne.Error, psyne.Sender, self.address + "x", psyne.Layout("L", 8, 3))

    def test_who_comes_second_is_told_why_not(self):
        _sender, _receiver = self.pair(Tick.layout)
        Other = psyne.Struct("Other", instrument="u64", price="f64")
        sender, receiver = psyne.Sender, psyne.Receiver
        for open, layout, code in [
            (receiver, Tick.layout, "crowded"),
            (sender, Tick.layout, "crowded"),
            (sender, Other.layout, "layout_mismatch"),
            (sender, None, "pattern_mismatch"),
        ]:
            with self.assertRaises(psyne.Error) as raised:
                open(self.address, layout)
            self.assertEqual(raised.exception.code, code)
        self.assertRaises(psyne.LayoutMismatch, sender, self.address, Other.layout)

    def test_what_is_closed_stays_closed(self):
        sender, receiver = self.pair()
        sender.close()
        receiver.close()
        sender.close()
        receiver.close()
        loan = (sender.send, b"x"), (sender.loan, 1), (sender.unread,), (sender.stats,)
        for use, *words in (*loan, (receiver.recv,), (receiver.try_recv,), (receiver.arm,)):
            self.assertRaises(ValueError, use, *words)

    def test_a_message_is_released_once_or_twice(self):
        sender, receiver = self.pair()
        sender.send(b"one")
        message = receiver.recv()
        message.release()
        message.release()
        self.assertRaises(BufferError, message.tensor)
        loan = sender.loan(1)
        loan.abort()
        loan.abort()
        self.assertRaises(ValueError, loan.commit)

    def test_the_death_of_a_process_is_heard(self):
        address = f"ipc://{self.id()[-40:]}-{os.getpid()}"
        code = (
            "import os, psyne, signal;"
            f"sender = psyne.Sender('{address}');"
            "sender.send(b'last');"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        receiver = psyne.Receiver(address)
        child = subprocess.Popen([sys.executable, "-c", code])
        self.assertEqual(bytes(receiver.recv(timeout=30)), b"last")
        with self.assertRaises(psyne.PeerDied) as raised:
            receiver.recv(timeout=30)
        self.assertEqual(raised.exception.number, child.pid)
        child.wait()


if __name__ == "__main__":
    unittest.main()
