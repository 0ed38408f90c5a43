//! Tensors in channels of bytes, lent to and by other libraries.

use core::ptr::NonNull;

use psyne::channel::tensor::arrow::{Array, Column, Schema};
use psyne::channel::tensor::dlpack::{Lent, Managed};

use crate::end::send_filled;
use crate::{Receiver, Sender, Status};

/// Takes the tensor out of the message that was received last, to be read where it lies, without
/// copying it. It may be kept beyond `psyne_receiver_close`, and is given back by its deleter, by
/// any thread; until then nothing else can be received (`PSYNE_MISUSE`). `tensor` becomes a
/// `struct DLManagedTensorVersioned *` of DLPack 1.0, flagged as read-only.
///
/// # Safety
/// `tensor` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_tensor_dlpack(
    receiver: Option<&mut Receiver>,
    tensor: *mut *mut Managed,
) -> Status {
    let Some(message) = receiver.and_then(|receiver| receiver.message.take()) else {
        return Status::misuse("there is no message");
    };
    if tensor.is_null() {
        return Status::misuse("there is no place for the tensor");
    }
    let lent = Lent::message(message).map(Lent::into_raw);
    let out = lent.as_ref().ok().copied().flatten();
    // SAFETY: not null, and the caller promises that it can be written to.
    unsafe { tensor.write(out.map_or(core::ptr::null_mut(), NonNull::as_ptr)) };
    Status::of(lent.map(drop))
}

/// Sends a tensor of another library: its elements are copied once, to where they will be read. It
/// is given back by its deleter, whatever this answers.
///
/// # Safety
/// `tensor` is a `struct DLManagedTensorVersioned *` of DLPack 1, whole, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_tensor_dlpack_send(
    sender: Option<&mut Sender>,
    tensor: *mut Managed,
) -> Status {
    let Some(tensor) = NonNull::new(tensor) else { return Status::misuse("the tensor is null") };
    // SAFETY: as the caller promises.
    let lent = unsafe { Lent::from_raw(tensor) };
    let header = match lent.as_ref().map_err(Clone::clone).and_then(Lent::header) {
        Ok(header) => header,
        Err(error) => return Status::of(Err(error)),
    };
    send_filled(sender, header.message_bytes(), |room| lent?.copy_to(header.write(room)?))
}

/// Takes the tensor out of the message that was received last, as an array of Arrow: of numbers, or
/// of fixed-size lists for more than one dimension. As `psyne_tensor_dlpack`; it is released as the
/// Arrow C data interface says.
///
/// # Safety
/// Both can be written to: a `struct ArrowSchema` and a `struct ArrowArray`, of which nothing is
/// released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_tensor_arrow(
    receiver: Option<&mut Receiver>,
    schema: *mut Schema,
    array: *mut Array,
) -> Status {
    let Some(message) = receiver.and_then(|receiver| receiver.message.take()) else {
        return Status::misuse("there is no message");
    };
    if schema.is_null() || array.is_null() {
        return Status::misuse("there is no place for the array");
    }
    let (ours, elements) = match Column::message(message) {
        Ok(column) => column.into_raw(),
        Err(error) => return Status::of(Err(error)),
    };
    // SAFETY: not null, and the caller promises that it can be written to.
    unsafe { schema.write(ours) };
    // SAFETY: as above.
    unsafe { array.write(elements) };
    Status::PsyneOk
}

/// Sends an array of Arrow as a tensor: numbers, or fixed-size lists of them, without nulls. Its
/// elements are copied once, to where they will be read; both are released, whatever this answers.
///
/// # Safety
/// They are whole, as the Arrow C data interface says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_tensor_arrow_send(
    sender: Option<&mut Sender>,
    schema: Option<&mut Schema>,
    array: Option<&mut Array>,
) -> Status {
    let (Some(schema), Some(array)) = (schema, array) else {
        return Status::misuse("the array or its schema is null");
    };
    // SAFETY: as the caller promises.
    let column = unsafe { Column::from_raw(schema, array) };
    let header = match column.as_ref().map_err(Clone::clone).and_then(Column::header) {
        Ok(header) => header,
        Err(error) => return Status::of(Err(error)),
    };
    send_filled(sender, header.message_bytes(), |room| column?.copy_to(header.write(room)?))
}

#[cfg(test)]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "it plays a program in C")]
mod tests {
    //! With the structures as their specifications have them.

    use core::ffi::{CStr, c_char, c_void};
    use core::ptr;

    use super::{
        psyne_tensor_arrow, psyne_tensor_arrow_send, psyne_tensor_dlpack, psyne_tensor_dlpack_send,
    };
    use crate::{
        PSYNE_BYTES, Receiver, Sender, Status, psyne_receiver_close, psyne_receiver_open,
        psyne_recv, psyne_send, psyne_sender_close, psyne_sender_open, psyne_unread,
    };
    use psyne::channel::tensor::{Dtype, Header};

    /// `DLManagedTensorVersioned` of dlpack.h 1.0.
    #[repr(C)]
    struct Managed {
        version: [u32; 2],
        context: *mut c_void,
        deleter: Option<unsafe extern "C" fn(*mut Managed)>,
        flags: u64,
        data: *const [f32; 6],
        device: [i32; 2],
        ndim: i32,
        dtype: (u8, u8, u16),
        shape: *const [i64; 2],
        strides: *const [i64; 2],
        byte_offset: u64,
    }

    /// `ArrowSchema`.
    #[repr(C)]
    struct Schema {
        format: *const c_char,
        name: *const c_char,
        metadata: *const c_char,
        flags: i64,
        n_children: i64,
        children: *mut *mut Schema,
        dictionary: *mut Schema,
        release: Option<unsafe extern "C" fn(*mut Schema)>,
        private: *mut c_void,
    }

    /// `ArrowArray`.
    #[repr(C)]
    struct Array {
        length: i64,
        null_count: i64,
        offset: i64,
        n_buffers: i64,
        n_children: i64,
        buffers: *const *const [f32; 6],
        children: *mut *mut Array,
        dictionary: *mut Array,
        release: Option<unsafe extern "C" fn(*mut Array)>,
        private: *mut c_void,
    }

    const ELEMENTS: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

    struct Pair {
        sender: *mut Sender,
        receiver: *mut Receiver,
    }

    impl Pair {
        fn open(name: &str) -> Self {
            let address = format!("memory://{name}-{}\0", std::process::id());
            let address = address.as_ptr().cast::<c_char>();
            let (mut sender, mut receiver) = (ptr::null_mut(), ptr::null_mut());
            // SAFETY: the address ends with a zero byte, and the handle can be written.
            let opened =
                unsafe { psyne_receiver_open(address, PSYNE_BYTES, None, &raw mut receiver) };
            assert_eq!(opened, Status::PsyneOk);
            // SAFETY: as above.
            let opened = unsafe { psyne_sender_open(address, PSYNE_BYTES, None, &raw mut sender) };
            assert_eq!(opened, Status::PsyneOk);
            Self { sender, receiver }
        }

        fn send(&self) {
            #[repr(align(64))]
            struct Lines([u8; 216]);
            let mut lines = Lines([0; 216]);
            let room = Header::dense(Dtype::F32, &[2, 3]).unwrap().write(&mut lines.0).unwrap();
            for (to, from) in room.chunks_exact_mut(4).zip(ELEMENTS) {
                to.copy_from_slice(&from.to_ne_bytes());
            }
            // SAFETY: the sender is open; so many bytes are there.
            let sent = unsafe { psyne_send(self.sender.as_mut(), lines.0.as_ptr().cast(), 216) };
            assert_eq!(sent, Status::PsyneOk);
        }

        fn recv(&self) -> Status {
            let (mut message, mut bytes) = (ptr::null(), 0);
            // SAFETY: the receiver is open; both can be written.
            unsafe { psyne_recv(self.receiver.as_mut(), 0, &raw mut message, &raw mut bytes) }
        }

        fn dlpack(&self) -> *mut Managed {
            let mut tensor = ptr::null_mut();
            // SAFETY: the receiver is open; the tensor can be written.
            let taken = unsafe { psyne_tensor_dlpack(self.receiver.as_mut(), &raw mut tensor) };
            assert_eq!(taken, Status::PsyneOk);
            tensor.cast()
        }

        fn unread(&self) -> (Status, u64) {
            let mut unread = 0;
            // SAFETY: the sender is open.
            (psyne_unread(unsafe { self.sender.as_mut() }, Some(&mut unread)), unread)
        }
    }

    #[test]
    fn a_tensor_outlives_its_receiver() {
        let mut pair = Pair::open("dlpack-c");
        pair.send();
        assert_eq!(pair.recv(), Status::PsyneOk);
        let raw = pair.dlpack();
        // SAFETY: what the function says; given back below.
        let tensor = unsafe { &*raw };
        assert_eq!((tensor.version[0], tensor.flags, tensor.device), (1, 1, [1, 0]));
        assert_eq!((tensor.ndim, tensor.dtype, tensor.byte_offset), (2, (2, 32, 1), 0));
        // SAFETY: two dimensions.
        let numbers = unsafe { (*tensor.shape, *tensor.strides) };
        assert_eq!(numbers, ([2, 3], [3, 1]));
        pair.send();
        assert_eq!(pair.recv(), Status::PsyneMisuse, "the tensor was not given back");
        // SAFETY: opened above, and not used again.
        unsafe { psyne_receiver_close(Some(&mut pair.receiver)) };
        // SAFETY: six elements, which the tensor keeps.
        assert_eq!(unsafe { *tensor.data }, ELEMENTS);
        assert_eq!(pair.unread().0, Status::PsyneOk, "the end is there as long as the tensor");
        // SAFETY: once.
        unsafe { tensor.deleter.unwrap()(raw) };
        assert_eq!(pair.unread().0, Status::PsyneClosed);
        // SAFETY: opened above, and not used again.
        unsafe { psyne_sender_close(Some(&mut pair.sender)) };
    }

    #[test]
    fn tensors_of_others_are_sent() {
        let (from, to) = (Pair::open("tensors-from"), Pair::open("tensors-to"));
        from.send();
        assert_eq!(from.recv(), Status::PsyneOk);
        // SAFETY: the sender is open; the tensor is whole and not used again.
        let sent = unsafe { psyne_tensor_dlpack_send(to.sender.as_mut(), from.dlpack().cast()) };
        assert_eq!(sent, Status::PsyneOk);
        assert_eq!(from.recv(), Status::PsyneTimedOut, "it was given back");

        assert_eq!(to.recv(), Status::PsyneOk);
        let schema = Box::into_raw(Box::new([0_u64; 9]));
        let array = Box::into_raw(Box::new([0_u64; 10]));
        let (names, lists) = (schema.cast::<Schema>(), array.cast::<Array>());
        // SAFETY: the receiver is open, and there is room for both structures.
        let taken = unsafe { psyne_tensor_arrow(to.receiver.as_mut(), names.cast(), lists.cast()) };
        assert_eq!(taken, Status::PsyneOk);
        // SAFETY: written just now; a format ends with a zero byte.
        let format = unsafe { CStr::from_ptr((*names).format) };
        // SAFETY: as above.
        let seen = unsafe { ((*names).n_children, (*lists).n_children, (*lists).length) };
        assert_eq!((format, seen), (c"+w:3", (1, 1, 2)));
        // SAFETY: there is one child with two buffers, the second of which has six elements.
        let (leaf, elements) = unsafe {
            let leaf = &**(*lists).children;
            (leaf, **leaf.buffers.add(1))
        };
        assert_eq!((leaf.length, leaf.null_count, leaf.n_buffers), (6, 0, 2));
        assert_eq!((elements, to.recv()), (ELEMENTS, Status::PsyneMisuse), "not released yet");
        // SAFETY: the sender is open; both are whole.
        let sent = unsafe {
            let (names, lists) = (names.cast(), lists.cast());
            psyne_tensor_arrow_send(from.sender.as_mut(), Some(&mut *names), Some(&mut *lists))
        };
        assert_eq!(sent, Status::PsyneOk);
        assert_eq!((to.recv(), from.recv()), (Status::PsyneTimedOut, Status::PsyneOk));
        // SAFETY: written above, and released by whom they were given to.
        assert!(unsafe { (*names).release.is_none() && (*lists).release.is_none() });
        // SAFETY: all of it was made above, and is not used again.
        unsafe {
            for mut pair in [from, to] {
                psyne_sender_close(Some(&mut pair.sender));
                psyne_receiver_close(Some(&mut pair.receiver));
            }
            drop((Box::from_raw(schema), Box::from_raw(array)));
        }
    }
}
