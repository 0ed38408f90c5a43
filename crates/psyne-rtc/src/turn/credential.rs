//! Credentials that end by themselves ("TURN REST": draft-uberti-behave-turn-rest-00), which coturn
//! and browsers know.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// What a client shows to a TURN server.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Until when, in seconds since 1970, a colon, and for whom.
    pub username: String,
    /// What the secret makes of the name.
    pub password: String,
}

impl core::fmt::Debug for Credential {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Credential")
    }
}

/// Makes a credential for `user` that a server with this secret takes until `until_unix_s`, in
/// seconds since 1970.
#[must_use]
pub fn issue(secret: &[u8], user: &str, until_unix_s: u64) -> Credential {
    let username = format!("{until_unix_s}:{user}");
    let password = password(secret, &username);
    Credential { username, password }
}

/// Who a server knows.
#[derive(Clone, Default)]
pub struct Users {
    /// Passwords by name, for ever.
    pub passwords: BTreeMap<String, String>,
    /// Secrets of short-lived credentials: the present one, and an older one while what it issued
    /// still lives. Each is tried for each such name.
    pub secrets: Vec<Vec<u8>>,
}

impl Users {
    /// Passwords that this name may have now.
    pub(super) fn passwords(&self, username: &str, unix_s: u64) -> impl Iterator<Item = String> {
        let until = username.split(':').next().and_then(|until| until.parse::<u64>().ok());
        let secrets =
            if until.is_some_and(|until| unix_s < until) { &self.secrets[..] } else { &[] };
        let issued = secrets.iter().map(|secret| password(secret, username));
        self.passwords.get(username).cloned().into_iter().chain(issued)
    }

    /// Whose quota a name uses: that of whom it was issued for.
    pub(super) fn user<'a>(&self, username: &'a str) -> &'a str {
        if self.passwords.contains_key(username) {
            return username;
        }
        username.split_once(':').map_or("", |(_, user)| user)
    }
}

impl core::fmt::Debug for Users {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Users {{ {} named, {} secrets }}", self.passwords.len(), self.secrets.len())
    }
}

/// The password of such a name.
fn password(secret: &[u8], username: &str) -> String {
    let mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of any size");
    BASE64_STANDARD.encode(mac.chain_update(username).finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s 1433065916:user | openssl dgst -sha1 -hmac secret -binary | base64`
    #[test]
    fn it_is_what_others_compute() {
        let credential = issue(b"secret", "user", 1_433_065_916);
        assert_eq!(credential.username, "1433065916:user");
        assert_eq!(credential.password, "CSq6RU2kY/nR7oOzo813zVPLkk8=");
    }

    #[test]
    fn a_credential_ends_at_its_time_and_uses_the_quota_of_whom_it_is_for() {
        let secrets = vec![b"new".to_vec(), b"old".to_vec()];
        let passwords = BTreeMap::from([("ann".to_owned(), "pass".to_owned())]);
        let users = Users { passwords, secrets };
        let Credential { username, password } = issue(b"old", "ben", 1_000);
        let taken = |unix_s| users.passwords(&username, unix_s).any(|other| other == password);
        assert!(taken(999) && !taken(1_000));
        assert_eq!((users.user(&username), users.user("ann")), ("ben", "ann"));
        assert_eq!(users.passwords("ann", u64::MAX).collect::<Vec<_>>(), ["pass"]);
        for none in ["", "ben", ":ben", "-1:ben", "99999999999999999999:ben"] {
            assert_eq!(users.passwords(none, 0).count(), 0, "{none}");
        }
    }
}
