//! What a message is, so that both ends can tell whether they mean the same.

use core::ffi::{CStr, c_char};

use psyne::channel;

/// What a message is: equal at both ends of a channel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the name and the fields.
    pub hash: u64,
    /// Bytes of a message.
    pub size: usize,
    /// Its alignment in bytes.
    pub align: usize,
}

/// Byte strings of any length.
pub const PSYNE_BYTES: Layout = Layout { hash: 0, size: 0, align: 0 };

impl Layout {
    /// The same for Rust, unless it is `PSYNE_BYTES`.
    pub(crate) fn read(&self) -> Option<channel::Layout> {
        (*self != PSYNE_BYTES).then(|| self.whole())
    }

    fn whole(&self) -> channel::Layout {
        channel::Layout { hash: self.hash, size: self.size, align: self.align }
    }
}

impl From<channel::Layout> for Layout {
    fn from(layout: channel::Layout) -> Self {
        Self { hash: layout.hash, size: layout.size, align: layout.align }
    }
}

/// A text from C, or "" for none and for what is no UTF-8.
///
/// # Safety
/// `text` is null or ends with a zero byte.
unsafe fn text<'a>(text: *const c_char) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: not null, and the caller promises the zero byte.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
}

/// That of a number by Rust's name for it ("u8" to "u64", "i8" to "i64", "f32", "f64"), or of a
/// struct: then its size and alignment count, and its fields follow by `psyne_layout_field`.
///
/// # Safety
/// `name` ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_layout_named(
    name: *const c_char,
    size: usize,
    align: usize,
) -> Layout {
    // SAFETY: as the caller promises.
    let name = unsafe { text(name) };
    let number = channel::Layout::number(name);
    number.unwrap_or_else(|| channel::Layout::named(name, size, align)).into()
}

/// The same with one more field.
///
/// # Safety
/// `name` ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn psyne_layout_field(
    layout: Layout,
    name: *const c_char,
    of: Layout,
) -> Layout {
    // SAFETY: as the caller promises.
    let name = unsafe { text(name) };
    layout.whole().field(name, of.whole()).into()
}

/// That of `count` elements one after the other.
#[unsafe(no_mangle)]
pub extern "C" fn psyne_layout_array(of: Layout, count: usize) -> Layout {
    channel::Layout::array(of.whole(), count).into()
}
