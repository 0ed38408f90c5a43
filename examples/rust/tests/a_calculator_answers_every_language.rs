//! A calculator in each language, asked in each.

mod support;

use support::{LANGUAGES, printed, start};

/// Questions and what there is to say to them.
const QUESTIONS: [([&str; 3], &str); 3] = [
    (["6", "x", "7"], "42.000\n"),
    (["1", "/", "8"], "0.125\n"),
    (["2", "^", "8"], "the calculator can't do that\n"),
];

#[test]
fn a_calculator_answers_every_language() {
    let folder = tempfile::tempdir().unwrap();
    for (from, server) in LANGUAGES {
        let address = format!("ipc://examples-{}-calculator-{from}", std::process::id());
        let ask = |(_, client): (_, support::Language), words: [&str; 3]| {
            let words = [&["ask", &address][..], &words].concat();
            start(client("calculator", folder.path()), &words)
        };
        // Those who come before the server wait for it.
        let early = LANGUAGES.map(|client| ask(client, QUESTIONS[0].0));
        let mut server = start(server("calculator", folder.path()), &["serve", &address]);
        for (client, (to, _)) in early.into_iter().zip(LANGUAGES) {
            assert_eq!(printed(client, to), QUESTIONS[0].1, "from {from} to {to}");
        }
        for (client, (words, answer)) in LANGUAGES.into_iter().zip(QUESTIONS) {
            let what = format!("{words:?} from {from} to {}", client.0);
            assert_eq!(printed(ask(client, words), &what), answer, "{what}");
        }
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
