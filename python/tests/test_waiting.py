"""Waiting: by asyncio, by a descriptor, interrupted, across a fork, and broken off."""

import asyncio
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import unittest
import weakref

import psyne

Number = psyne.Struct("Number", value="u64")


class Waiting(unittest.TestCase):
    def setUp(self):
        self.address = f"memory://{self.id()[-40:]}-{os.getpid()}"

    def pair(self, layout=None, **options):
        return psyne.Sender(self.address, layout), psyne.Receiver(self.address, layout, **options)

    def test_a_task_waits_for_a_message(self):
        sender, receiver = self.pair()

        async def talk():
            waiting = asyncio.create_task(receiver.recv_async())
            await asyncio.sleep(0)
            sender.send(b"one")
            self.assertEqual(bytes(await asyncio.wait_for(waiting, 60)), b"one")
            sender.send(b"two")
            self.assertEqual(bytes(await receiver.recv_async()), b"two")
            with self.assertRaises(TimeoutError):
                await asyncio.wait_for(receiver.recv_async(), 0.01)
            sender.send(b"three")
            sender.close()
            return [bytes(message) async for message in receiver]

        self.assertEqual(asyncio.run(talk()), [b"three"])

    def test_every_pattern_is_waited_for(self):
        async def talk(pattern, layout, message):
            address = f"{self.address}-{pattern}-{layout is None}"
            sender = psyne.Sender(address, layout, pattern=pattern)
            receiver = psyne.Receiver(address, layout, pattern=pattern)
            while pattern == "broadcast" and sender.receivers() == 0:
                await asyncio.sleep(0.001)
            waiting = asyncio.create_task(receiver.recv_async())
            await asyncio.sleep(0.01)
            self.assertFalse(waiting.done())
            sender.send(message)
            received = bytes(await asyncio.wait_for(waiting, 60))
            self.assertEqual(received, message, pattern)
            sender.close()
            self.assertEqual([message async for message in receiver], [])

        for pattern in ("queue", "mpsc", "spmc", "mpmc", "broadcast", "latest"):
            asyncio.run(talk(pattern, Number.layout, Number.pack(7)))
        for pattern in ("queue", "broadcast"):
            asyncio.run(talk(pattern, None, b"text"))

    def test_servers_and_listeners_are_tasks_too(self):
        server = psyne.Server(self.address, Number.layout, Number.layout)
        notifier = psyne.Notifier(self.address + "e")
        listener = psyne.Listener(self.address + "e")

        def ask():
            with psyne.Client(self.address, Number.layout, Number.layout) as client:
                return Number.unpack(client.call(Number.pack(21), 60)).value

        async def serve():
            async for request in server:
                server.reply(Number.pack(Number.unpack(request).value * 2))

        async def listen():
            seen = asyncio.create_task(listener.wait_async())
            await asyncio.sleep(0)
            notifier.notify(5)
            self.assertEqual(await asyncio.wait_for(seen, 60), {5: 1})
            notifier.close()
            self.assertEqual([events async for events in listener], [])

        async def both():
            serving = asyncio.create_task(serve())
            answer = await asyncio.get_running_loop().run_in_executor(None, ask)
            self.assertEqual(answer, 42)
            await asyncio.wait_for(serving, 60)
            await listen()

        asyncio.run(both())

    def test_one_task_waits_at_an_end(self):
        _sender, receiver = self.pair()

        async def talk():
            first = asyncio.create_task(receiver.recv_async())
            await asyncio.sleep(0)
            with self.assertRaises(RuntimeError):
                await receiver.recv_async()
            receiver.close()
            with self.assertRaises(ValueError):
                await asyncio.wait_for(first, 60)

        asyncio.run(talk())

    def test_a_descriptor_is_polled(self):
        sender, receiver = self.pair()
        poll = select.poll()
        poll.register(receiver, select.POLLIN)
        self.assertFalse(receiver.arm())
        self.assertEqual(poll.poll(0), [])
        sender.send(b"rings")
        self.assertEqual(len(poll.poll(60000)), 1)
        self.assertTrue(receiver.arm())
        self.assertEqual(bytes(receiver.try_recv()), b"rings")
        self.assertIsNone(receiver.try_recv())

    def test_an_iteration_broken_off_leaves_nothing(self):
        sender, receiver = self.pair()
        for _ in range(3):
            sender.send(b"x")
        for message in receiver:
            view = memoryview(message)
            break
        held = weakref.ref(view)
        del message, view
        self.assertIsNone(held())
        self.assertEqual(bytes(receiver.recv()), b"x")
        before = sys.getrefcount(receiver)
        for _ in range(100):
            for message in receiver:
                break
            sender.send(b"y")
        del message
        gc.collect()
        self.assertLessEqual(sys.getrefcount(receiver), before)
        receiver.close()
        self.assertRaises(psyne.Closed, sender.unread)

    def test_every_wait_hears_ctrl_c(self):
        ends = {
            "receiver": "psyne.Receiver(address).recv()",
            "sender": "s = psyne.Sender(address); [s.send(b'x') for _ in range(10**6)]",
            "server": "psyne.Server(address, u8, u8).next()",
            "client": "psyne.Client(address, u8, u8).call(b'x')",
            "listener": "psyne.Listener(address).wait()",
            "asyncio": "asyncio.run(psyne.Receiver(address).recv_async())",
        }
        children = []
        for name, wait in ends.items():
            code = (
                "import asyncio, psyne, signal; u8 = psyne.Layout.number('u8');"
                f"address = '{self.address}{name}';"
                "signal.signal(signal.SIGALRM, signal.default_int_handler);"
                "signal.setitimer(signal.ITIMER_REAL, 0.3);" + wait
            )
            children.append((name, subprocess.Popen([sys.executable, "-c", code], stderr=-1)))
        for name, child in children:
            _, errors = child.communicate(timeout=60)
            self.assertIn(b"KeyboardInterrupt", errors, name)

    def test_a_waiting_thread_holds_nobody_up(self):
        sender, receiver = self.pair()
        got = []
        thread = threading.Thread(target=lambda: got.append(bytes(receiver.recv(60))))
        thread.start()
        self.assertRaises(RuntimeError, self.busy, receiver)
        sender.send(b"late")
        thread.join(60)
        self.assertEqual(got, [b"late"])

    def busy(self, receiver):
        # It is busy from some moment on, and until it gets something.
        while True:
            receiver.try_recv()

    def test_a_fork_leaves_the_parents_channel_alone(self):
        address = self.address.replace("memory", "ipc")
        sender, receiver = psyne.Sender(address), psyne.Receiver(address)
        sender.send(b"before")
        message = receiver.recv(60)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for attempt in (lambda: sender.send(b"x"), receiver.try_recv, sender.unread):
                    try:
                        attempt()
                    except psyne.Error as error:
                        assert error.code == "system", error.code
                    else:
                        raise AssertionError("a fork was not noticed")
                sender.close()
                del message, receiver, attempt
                gc.collect()
                code = 0
            finally:
                os._exit(code)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(bytes(message), b"before")
        sender.send(b"after")
        self.assertEqual(bytes(receiver.recv(60)), b"after")
        self.assertRaises(psyne.TimedOut, receiver.recv, timeout=0)
        sender.close()
        self.assertRaises(psyne.Closed, receiver.recv)


if __name__ == "__main__":
    unittest.main()
