//! Tensors in messages of others.

use psyne_channel::tensor::{Element, View};

/// Room that lies as a channel lends it.
#[repr(align(64))]
struct Lines([u8; 4096]);

/// A header reaches nowhere beyond its message.
pub fn view(data: &[u8]) {
    let mut lines = Lines([0; 4096]);
    let bytes = data.len().min(lines.0.len());
    lines.0[..bytes].copy_from_slice(&data[..bytes]);
    let message = &lines.0[..bytes];
    let Ok(tensor) = View::of(message) else { return };
    assert!(tensor.shape().len() == tensor.strides().len());
    let end = message.as_ptr_range().end;
    assert!(tensor.data().as_ptr_range().end <= end, "its elements lie in its message");
    look::<u8>(&tensor);
    look::<i16>(&tensor);
    look::<f32>(&tensor);
    look::<f64>(&tensor);
    let mut copy = Lines([0; 4096]);
    let room = tensor.header().write(&mut copy.0).expect("it fits where it came from");
    assert_eq!(room.len(), tensor.data().len());
    let same = View::of(&copy.0).expect("what was written is read");
    assert_eq!(same.header(), tensor.header());
}

/// Its first and last element, and one beyond.
fn look<T: Element>(tensor: &View<'_>) {
    let last: Vec<u64> = tensor.shape().iter().map(|length| length.saturating_sub(1)).collect();
    let _ = (tensor.get::<T>(&vec![0; last.len()]), tensor.get::<T>(&last));
    assert!(tensor.shape().is_empty() || tensor.get::<T>(tensor.shape()).is_none());
    let _ = tensor.elements::<T>();
}
