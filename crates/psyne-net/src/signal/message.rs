//! What is said between a hub and its members, as JSON: docs/wire/signal.md.

use core::borrow::Borrow;
use core::fmt::{self, Display, Formatter};
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a group, a peer, a user or a session is called: 1 to 64 of `A-Z a-z 0-9 . _ ~ -`, so that
/// it stands in a URI as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Bytes of the longest name.
    pub const BYTES_MAX: usize = 64;

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        if fits && text.bytes().all(allowed) { Ok(Self(text)) } else { Err(Refusal::Name) }
    }
}

impl FromStr for Name {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        text.to_owned().try_into()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Display for Name {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a member says to the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToHub {
    /// The first message of a connection.
    Join(Join),
    /// A newer token for the same user and group, before the old one expires.
    Renew {
        /// The token.
        token: String,
    },
    /// Something for another member of the group.
    Send {
        /// Who gets it.
        to: Name,
        /// Which session between the two it is about; whoever offers names it.
        session: Name,
        /// What.
        signal: Signal,
    },
    /// The answer to [`FromHub::Ping`].
    Pong,
    /// Goodbye. The hub closes the connection.
    Leave,
}

/// Who wants to be in which group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// [`super::VERSION`].
    pub version: u32,
    /// Which group.
    pub group: Name,
    /// What to be called in it; the hub finds a name if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Name>,
    /// The same in each try of one member, 16 characters or more, kept from others: who shows it
    /// again takes its place back although the old connection is not known to be gone.
    pub instance: Name,
    /// A [`super::Ticket`], sealed; a hub without a secret wants none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What two members exchange. The hub reads none of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A description that begins or restarts a session (SDP, RFC 9429).
    Offer(String),
    /// The answer to it.
    Answer(String),
    /// A candidate (RFC 8839, 5.1), or nothing when there are no more.
    Candidate(String),
    /// The session is over, or will not begin; why, for people.
    Bye(String),
}

/// What the hub says to a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromHub {
    /// The answer to [`ToHub::Join`].
    Welcome(Welcome),
    /// Somebody came into the group.
    Joined {
        /// Who.
        peer: Name,
    },
    /// Somebody is gone from the group. Sessions with them may well be up.
    Left {
        /// Who.
        peer: Name,
        /// Why: `left`, `closed`, or a [`Refusal::code`].
        reason: String,
    },
    /// Something from another member.
    Signal {
        /// Who sent it: the hub's word, not theirs.
        from: Name,
        /// Which session between the two it is about.
        session: Name,
        /// What.
        signal: Signal,
    },
    /// The answer to [`ToHub::Renew`].
    Renewed {
        /// Servers with credentials that live as long as the new token.
        ice: Vec<Ice>,
    },
    /// Something was not done. If the hub closes the connection, the same code is the reason.
    Refused {
        /// [`Refusal::code`].
        code: String,
        /// What happened and what to do, for people.
        message: String,
        /// Whom it was for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Name>,
        /// Which session it was about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<Name>,
    },
    /// Answer with [`ToHub::Pong`].
    Ping,
}

/// What a new member has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`super::VERSION`].
    pub version: u32,
    /// What the member is called.
    pub peer: Name,
    /// Who else is in the group.
    pub members: Vec<Name>,
    /// STUN and TURN servers to gather candidates with.
    pub ice: Vec<Ice>,
    /// Seconds of silence after which the hub takes the member for gone, and the member the hub.
    pub silence_s: u32,
    /// Bytes of the longest message that the hub takes.
    pub message_bytes_max: u32,
}

/// A STUN or TURN server, as browsers' `RTCIceServer` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ice {
    /// `stun:host:port`, `turn:host:port?transport=udp` … (RFC 7064, 7065).
    pub urls: Vec<String>,
    /// For TURN: `expiry:user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN: what [`super::turn_password`] says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Why the hub does not do something, or ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no message of this protocol.
    #[error("this is no message of {}; see docs/wire/signal.md", super::SUBPROTOCOL)]
    Malformed,
    /// A name has other characters, or too many, or an instance too few.
    #[error("names are 1 to 64 of A-Z a-z 0-9 . _ ~ -, an instance has 16 or more")]
    Name,
    /// The versions differ.
    #[error("another version is spoken here: {}", super::VERSION)]
    Version,
    /// It is longer than a message may be.
    #[error("the message is longer than welcome.message_bytes_max")]
    TooLong,
    /// The token is missing, or was not made by somebody who has the secret.
    #[error("the token is missing or was not made with this hub's secret")]
    Token,
    /// The token is too old.
    #[error("the token has expired; get a new one and join again")]
    Expired,
    /// The token is for another group, peer or user.
    #[error("the token is for another group, peer or user")]
    Forbidden,
    /// Another member has this name.
    #[error("the name is taken in this group; choose another")]
    Taken,
    /// The group has no room.
    #[error("the group is full")]
    GroupFull,
    /// The hub has no room.
    #[error("the hub is full; try again later")]
    Busy,
    /// The user, or the address, has as many members as it may have.
    #[error("you have as many members here as you may have; leave with another first")]
    Quota,
    /// The user says more than a user may say.
    #[error("too much, too fast: what you sent was dropped; slow down")]
    Rate,
    /// There is no such member.
    #[error("nobody of that name is in the group")]
    NoPeer,
    /// The other side's offer came first: drop yours, and answer theirs.
    #[error("an offer of theirs came first: drop yours and answer it")]
    Crossed,
    /// Too many offers are unanswered.
    #[error("too many of your offers are unanswered; wait for some")]
    Offers,
    /// What was sent to the member was not read.
    #[error("you did not read what was sent to you")]
    Slow,
    /// The member said nothing, not even to a ping.
    #[error("nothing was heard of you; answer pings")]
    Silent,
    /// No join came in time.
    #[error("no join came in time")]
    Late,
    /// The same member joined by another connection.
    #[error("you joined again by another connection")]
    Replaced,
    /// The hub is being stopped.
    #[error("the hub stops; try again in a moment")]
    Closing,
}

impl Refusal {
    /// Each of them.
    pub const ALL: [Self; 20] = [
        Self::Malformed,
        Self::Name,
        Self::Version,
        Self::TooLong,
        Self::Token,
        Self::Expired,
        Self::Forbidden,
        Self::Taken,
        Self::GroupFull,
        Self::Busy,
        Self::Quota,
        Self::Rate,
        Self::NoPeer,
        Self::Crossed,
        Self::Offers,
        Self::Slow,
        Self::Silent,
        Self::Late,
        Self::Replaced,
        Self::Closing,
    ];

    /// A name that stays the same in every language and version.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "signal.malformed",
            Self::Name => "signal.name",
            Self::Version => "signal.version",
            Self::TooLong => "signal.too_long",
            Self::Token => "signal.token",
            Self::Expired => "signal.expired",
            Self::Forbidden => "signal.forbidden",
            Self::Taken => "signal.taken",
            Self::GroupFull => "signal.group_full",
            Self::Busy => "signal.busy",
            Self::Quota => "signal.quota",
            Self::Rate => "signal.rate",
            Self::NoPeer => "signal.no_peer",
            Self::Crossed => "signal.crossed",
            Self::Offers => "signal.offers",
            Self::Slow => "signal.slow",
            Self::Silent => "signal.silent",
            Self::Late => "signal.late",
            Self::Replaced => "signal.replaced",
            Self::Closing => "signal.closing",
        }
    }

    /// The refusal of this code.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// Whether trying again, as it is, can never help.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::Name
                | Self::Version
                | Self::TooLong
                | Self::Token
                | Self::Expired
                | Self::Forbidden
                | Self::Taken
                | Self::Replaced
        )
    }
}

impl ToHub {
    /// Reads what a member said.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], or [`Refusal::Name`] if only a name is wrong.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let said: Self = serde_json::from_str(text).map_err(|error| refusal_of(&error))?;
        match &said {
            Self::Join(join) if join.instance.as_str().len() < 16 => Err(Refusal::Name),
            _ => Ok(said),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always become JSON")
    }
}

impl FromHub {
    /// Reads what a hub said.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn read(text: &str) -> Result<Self, Refusal> {
        serde_json::from_str(text).map_err(|error| refusal_of(&error))
    }

    /// As JSON.
    #[must_use]
    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always become JSON")
    }
}

/// serde hands a name's refusal through as text.
fn refusal_of(error: &serde_json::Error) -> Refusal {
    let name = error.is_data() && error.to_string().starts_with(&Refusal::Name.to_string());
    if name { Refusal::Name } else { Refusal::Malformed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn messages_are_what_the_document_says() {
        let join = Join {
            version: 1,
            group: name("demo"),
            peer: Some(name("alice")),
            instance: name("0123456789abcdef"),
            token: None,
        };
        let said = [
            (
                ToHub::Join(join),
                concat!(
                    r#"{"type":"join","version":1,"group":"demo","#,
                    r#""peer":"alice","instance":"0123456789abcdef"}"#
                ),
            ),
            (
                ToHub::Send {
                    to: name("bob"),
                    session: name("s1"),
                    signal: Signal::Offer("v=0\r\n".into()),
                },
                r#"{"type":"send","to":"bob","session":"s1","signal":{"offer":"v=0\r\n"}}"#,
            ),
            (ToHub::Pong, r#"{"type":"pong"}"#),
            (ToHub::Leave, r#"{"type":"leave"}"#),
            (ToHub::Renew { token: "t".into() }, r#"{"type":"renew","token":"t"}"#),
        ];
        for (message, text) in said {
            assert_eq!(message.write(), text);
            assert_eq!(ToHub::read(text), Ok(message));
        }
        let heard = FromHub::Refused {
            code: Refusal::NoPeer.code().into(),
            message: Refusal::NoPeer.to_string(),
            to: Some(name("bob")),
            session: None,
        };
        let text = concat!(
            r#"{"type":"refused","code":"signal.no_peer","#,
            r#""message":"nobody of that name is in the group","to":"bob"}"#
        );
        assert_eq!((heard.write().as_str(), FromHub::read(text)), (text, Ok(heard)));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let long = format!(r#"{{"type":"join","group":"{}"}}"#, "x".repeat(65));
        let deep = "[".repeat(50_000);
        for (text, refusal) in [
            ("", Refusal::Malformed),
            ("{}", Refusal::Malformed),
            ("[]", Refusal::Malformed),
            (deep.as_str(), Refusal::Malformed),
            (r#"{"type":"dance"}"#, Refusal::Malformed),
            (r#"{"type":"pong"} {"type":"pong"}"#, Refusal::Malformed),
            (r#"{"type":"send","to":"a","session":"s","signal":{"offer":1}}"#, Refusal::Malformed),
            (r#"{"type":"send","to":"a b","session":"s","signal":{"bye":""}}"#, Refusal::Name),
            (r#"{"type":"send","to":"","session":"s","signal":{"bye":""}}"#, Refusal::Name),
            (long.as_str(), Refusal::Name),
            (r#"{"type":"join","version":1,"group":"g","instance":"short"}"#, Refusal::Name),
        ] {
            assert_eq!(ToHub::read(text), Err(refusal), "{:.80}", text);
        }
        assert!(ToHub::read(r#"{"type":"pong","later":[1]}"#).is_ok(), "new fields are no fault");
    }

    #[test]
    fn every_refusal_has_a_code_of_its_own_and_is_found_by_it() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of(refusal.code()), Some(refusal));
            assert!(refusal.code().len() <= 123, "it is a close reason: RFC 6455, 5.5");
        }
    }
}
