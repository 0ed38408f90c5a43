"""Tensors of other libraries, in and out. PYTHONPATH has the package."""

import ctypes
import gc
import os
import unittest

import numpy
import psyne

get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
get_pointer.restype = ctypes.c_void_p
get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
set_name = ctypes.pythonapi.PyCapsule_SetName
set_name.argtypes = [ctypes.py_object, ctypes.c_char_p]


class Managed(ctypes.Structure):
    """DLManagedTensorVersioned, as dlpack.h of version 1.0 has it."""


DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(Managed))
Managed._fields_ = [
    ("major", ctypes.c_uint32),
    ("minor", ctypes.c_uint32),
    ("context", ctypes.c_void_p),
    ("deleter", DELETER),
    ("flags", ctypes.c_uint64),
    ("data", ctypes.c_void_p),
    ("device_type", ctypes.c_int32),
    ("device_id", ctypes.c_int32),
    ("ndim", ctypes.c_int32),
    ("code", ctypes.c_uint8),
    ("bits", ctypes.c_uint8),
    ("lanes", ctypes.c_uint16),
    ("shape", ctypes.POINTER(ctypes.c_int64)),
    ("strides", ctypes.POINTER(ctypes.c_int64)),
    ("byte_offset", ctypes.c_uint64),
]


class ArrowArray(ctypes.Structure):
    """As the Arrow C data interface has it."""


RELEASE = ctypes.CFUNCTYPE(None, ctypes.POINTER(ArrowArray))
ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(ArrowArray))),
    ("dictionary", ctypes.POINTER(ArrowArray)),
    ("release", RELEASE),
    ("private", ctypes.c_void_p),
]


class Capsules:
    """What has nothing but the capsules of an array of Arrow."""

    def __init__(self, pair):
        self.pair = pair

    def __arrow_c_array__(self, requested_schema=None):
        return self.pair


class Tensors(unittest.TestCase):
    def setUp(self):
        address = f"memory://{self.id()[-40:]}-{os.getpid()}"
        self.receiver = psyne.Receiver(address)
        self.sender = psyne.Sender(address, slots=4096)
        self.addCleanup(gc.collect)

    def exchange(self, array):
        self.sender.send_tensor(array)
        return self.receiver.recv().tensor()

    def test_arrays_of_all_numbers_arrive(self):
        for name in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"):
            sent = numpy.arange(24).astype(name).reshape(2, 3, 4)
            tensor = self.exchange(sent)
            self.assertEqual((tensor.shape, tensor.strides), ((2, 3, 4), (12, 4, 1)))
            seen = numpy.asarray(tensor)
            self.assertEqual(seen.dtype, sent.dtype)
            numpy.testing.assert_array_equal(seen, sent)
            numpy.testing.assert_array_equal(numpy.from_dlpack(tensor), sent)
            del tensor, seen

    def test_arrays_are_sent_as_they_lie(self):
        matrix = numpy.arange(12, dtype="i4").reshape(3, 4)
        for sent in (matrix.T, matrix[::-1], matrix[:, 1:3], numpy.array(7), matrix[:0]):
            numpy.testing.assert_array_equal(numpy.asarray(self.exchange(sent)), sent)

    def test_nothing_is_copied_and_nothing_written(self):
        tensor = self.exchange(numpy.ones(8, "f4"))
        seen = numpy.asarray(tensor)
        self.assertEqual(seen.ctypes.data % 64, 0)
        self.assertFalse(seen.flags.writeable)
        capsule = tensor.__dlpack__(max_version=(1, 0))
        managed = Managed.from_address(get_pointer(capsule, b"dltensor_versioned"))
        self.assertEqual(managed.data, seen.ctypes.data)
        self.assertEqual((managed.major, managed.flags & 1, managed.device_type), (1, 1, 1))
        self.assertEqual((managed.code, managed.bits, managed.lanes), (2, 32, 1))
        self.assertEqual((managed.ndim, managed.shape[0], managed.strides[0]), (1, 8, 1))
        self.assertEqual(tensor.__dlpack_device__(), (1, 0))

    def test_a_capsule_keeps_the_message(self):
        self.sender.send(b"next")
        self.receiver.recv()
        capsule = self.exchange(numpy.ones(8, "f4")).__dlpack__(max_version=(1, 0))
        self.assertRaises(BufferError, self.receiver.recv, timeout=0)
        # As a consumer does: it takes the tensor over, and gives it back when it likes.
        managed = Managed.from_address(get_pointer(capsule, b"dltensor_versioned"))
        name = b"used_dltensor_versioned"
        set_name(capsule, name)
        del capsule
        self.assertRaises(BufferError, self.receiver.recv, timeout=0)
        managed.deleter(managed)
        self.sender.send(b"last")
        self.assertEqual(bytes(self.receiver.recv()), b"last")

    def test_capsules_that_nobody_takes_are_given_back(self):
        for make in (
            lambda tensor: tensor.__dlpack__(max_version=(1, 0)),
            lambda tensor: tensor.__dlpack__(),
            lambda tensor: tensor.__arrow_c_array__(),
        ):
            made = make(self.exchange(numpy.ones(8, "f4")))
            del made
            self.assertRaises(psyne.TimedOut, self.receiver.recv, timeout=0)

    def test_who_knows_no_versions_gets_a_copy(self):
        tensor = self.exchange(numpy.ones(8, "f4"))
        copied = tensor.__dlpack__()
        self.assertIn("dltensor", repr(copied))
        self.assertRaises(BufferError, tensor.__dlpack__, copy=False)
        self.assertRaises(BufferError, tensor.__dlpack__, dl_device=(2, 0))
        capsule = tensor.__dlpack__(max_version=(1, 0), copy=True)
        managed = Managed.from_address(get_pointer(capsule, b"dltensor_versioned"))
        self.assertEqual(managed.flags, 2)
        del tensor
        self.assertRaises(psyne.TimedOut, self.receiver.recv, timeout=0)

    def test_arrow_sees_lists_of_numbers(self):
        sent = numpy.arange(24, dtype="f8").reshape(2, 3, 4)
        tensor = self.exchange(sent)
        schema, array = tensor.__arrow_c_array__()
        top = ArrowArray.from_address(get_pointer(array, b"arrow_array"))
        inner = top.children[0].contents
        leaf = inner.children[0].contents
        self.assertEqual([top.length, inner.length, leaf.length], [2, 6, 24])
        self.assertEqual([top.n_buffers, inner.n_buffers, leaf.n_buffers], [1, 1, 2])
        self.assertEqual(leaf.buffers[1], numpy.asarray(tensor).ctypes.data)
        del tensor, schema, array, top, inner, leaf

    def test_arrow_arrays_are_sent(self):
        sent = numpy.arange(24, dtype="i2").reshape(2, 3, 4)
        capsules = Capsules(self.exchange(sent).__arrow_c_array__())
        self.sender.send_tensor(capsules)
        self.assertRaises(psyne.Error, self.sender.send_tensor, capsules)
        self.assertEqual(numpy.asarray(self.receiver.recv().tensor()).tolist(), sent.tolist())

    def test_what_is_no_tensor_is_refused(self):
        self.sender.send(b"short")
        self.assertRaises(psyne.Error, self.receiver.recv().tensor)
        self.assertRaises(TypeError, self.sender.send_tensor, [1, 2])
        self.assertRaises(psyne.Error, self.sender.send_tensor, numpy.zeros(1 << 20))


if __name__ == "__main__":
    unittest.main()
