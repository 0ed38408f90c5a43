//! The promises of a channel hold on each transport.

mod conformance;

use conformance::{Place, promises};
use psyne_net::Options;

mod tcp {
    use super::*;

    fn place() -> Place {
        Place {
            uri: "tcp://127.0.0.1:0".to_owned(),
            nobody: "tcp://127.0.0.1:1".to_owned(),
            options: Options::default(),
            keep: None,
        }
    }

    promises!(place());
}

#[cfg(unix)]
mod unix {
    use super::*;

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("unix://{}", folder.path().join(name).display());
        let (uri, nobody) = (at("somebody"), at("nobody"));
        Place { uri, nobody, options: Options::default(), keep: Some(folder) }
    }

    promises!(place());
}
