//! Psyne's channels from Python: the extension behind the package in `python/`. Its README and type
//! stubs say how it is used.

mod error;
mod layout;
mod options;
mod receiver;
mod request;
mod sender;
mod tensor;

use pyo3::prelude::*;

/// How long a wait may keep Ctrl-C and other threads from being noticed.
const SLICE: std::time::Duration = std::time::Duration::from_millis(50);

#[pymodule]
fn _psyne(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<layout::Layout>()?;
    module.add_class::<sender::Sender>()?;
    module.add_class::<sender::Loan>()?;
    module.add_class::<receiver::Receiver>()?;
    module.add_class::<receiver::Message>()?;
    module.add_class::<tensor::Tensor>()?;
    module.add_class::<request::Client>()?;
    module.add_class::<request::Server>()?;
    error::add(module)
}
