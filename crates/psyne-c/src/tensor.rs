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
    let Some(sender) = sender else { return Status::misuse("the sender is null") };
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
    let Some(sender) = sender else { return Status::misuse("the sender is null") };
    let header = match column.as_ref().map_err(Clone::clone).and_then(Column::header) {
        Ok(header) => header,
        Err(error) => return Status::of(Err(error)),
    };
    send_filled(sender, header.message_bytes(), |room| column?.copy_to(header.write(room)?))
}
