//! What other processes say of themselves: at the rendezvous, and to observers.

use psyne_channel::{foreign, observe};

/// A hello is what would be said for it, or none.
pub fn hello(data: &[u8]) {
    if let Some(said) = foreign::hello(data) {
        assert_eq!(said, data, "every byte of a hello means something");
    }
}

/// What a process tells of its ends is bounded, fit for a terminal, and the same when told again.
pub fn window(data: &[u8]) {
    let Some((ends, again)) = foreign::window(data) else { return };
    assert!(data.len() <= observe::BYTES_MAX && again.len() <= observe::BYTES_MAX);
    for end in &ends {
        assert!(end.others.len() <= observe::OTHERS_MAX);
        for text in [&end.name, &end.pattern] {
            assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
    let (told, _) = foreign::window(&again).expect("what we tell can be read");
    assert_eq!(told, ends);
}
