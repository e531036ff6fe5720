//! `noctule._engine`: options in, batches of events out, nothing per message.
//!
//! The only crate that knows Python. Worker threads never take the GIL; every call that
//! may wait releases it.

mod access;
mod decode;
mod engine;
mod hooks;
mod load;
mod store;
mod tap;

use pyo3::prelude::*;

#[pymodule]
mod _engine {
    #[pymodule_export]
    use crate::access::explain;
    #[pymodule_export]
    use crate::decode::{DecodeError, decode};
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::load::bench;
    #[pymodule_export]
    use crate::store::{
        StoreError, StoreLockedError, store_backup, store_compact, store_export, store_import,
        store_summary,
    };
    #[pymodule_export]
    use crate::tap::Tap;
}
