//! What an SRT caller wants, from its stream id.

/// The key a caller publishes with.
///
/// Understood are the access-control syntax of SRT (`#!::r=KEY,m=publish`, "SRT Access Control
/// Guidelines" section 3), `publish:KEY` as other servers have it, and the bare key.
///
/// # Errors
/// The id is empty, asks for something else than publishing, or is not in one of these forms.
pub(super) fn publish_key(stream_id: &str) -> Result<&str, Refused> {
    let key = if let Some(list) = stream_id.strip_prefix("#!::") {
        access_control(list)?
    } else if let Some((mode, key)) = stream_id.split_once(':') {
        match mode {
            "publish" => key,
            "read" | "play" | "request" => return Err(Refused::NotPublish),
            _ => return Err(Refused::Malformed),
        }
    } else {
        stream_id
    };
    // An address pasted whole: `live/KEY`.
    let key = key.rsplit('/').next().unwrap_or(key);
    if key.is_empty() { Err(Refused::NoKey) } else { Ok(key) }
}

/// Why a stream id is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// There is no key in it.
    #[error("the stream id holds no stream key: use streamid=publish:KEY")]
    NoKey,
    /// SRT is for publishing here.
    #[error("only publishing is offered over SRT")]
    NotPublish,
    /// None of the known forms.
    #[error("the stream id is not understood: use streamid=publish:KEY")]
    Malformed,
}

fn access_control(list: &str) -> Result<&str, Refused> {
    let mut key = None;
    for pair in list.split(',') {
        match pair.split_once('=').ok_or(Refused::Malformed)? {
            ("r", value) => key = Some(value),
            ("m", "publish") => {}
            ("m", _) => return Err(Refused::NotPublish),
            _ => {}
        }
    }
    key.ok_or(Refused::NoKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_yields_the_key_or_a_reason() {
        for (id, expected) in [
            ("abc", Ok("abc")),
            ("publish:abc", Ok("abc")),
            ("publish:live/abc", Ok("abc")),
            ("#!::r=abc,m=publish", Ok("abc")),
            ("#!::u=me,m=publish,r=live/abc", Ok("abc")),
            ("#!::r=abc", Ok("abc")),
            ("#!::r=abc,m=request", Err(Refused::NotPublish)),
            ("#!::m=publish", Err(Refused::NoKey)),
            ("#!::m", Err(Refused::Malformed)),
            ("read:abc", Err(Refused::NotPublish)),
            ("what:abc", Err(Refused::Malformed)),
            ("", Err(Refused::NoKey)),
            ("publish:", Err(Refused::NoKey)),
        ] {
            assert_eq!(publish_key(id), expected, "{id:?}");
        }
    }
}
