//! Runs targets without libFuzzer: over their seeds and over seeded mutations of them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Calls `body` with every seed of the target `name`, then with `mutations` variants of them. The
/// same call makes the same inputs.
///
/// # Panics
/// The target panics (its input is named first), or it has no seeds.
pub fn run(name: &str, body: fn(&[u8]), mutations: u32) {
    let seeds = seeds(name);
    for (file, seed) in &seeds {
        attempt(body, seed, || format!("target {name}, seed {file}"));
    }
    let mut random = Random(0x5eed);
    for number in 0..mutations {
        let mut input = seeds[random.below(seeds.len())].1.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &seeds, &mut random);
        }
        attempt(body, &input, || format!("target {name}, mutation {number}: {input:02x?}"));
    }
}

fn attempt(body: fn(&[u8]), input: &[u8], describe: impl FnOnce() -> String) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        eprintln!("{}", describe());
        resume_unwind(panic);
    }
}

fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folder = folder.map(|root| root.join("fuzz/seeds").join(name)).find(|path| path.is_dir());
    let folder = folder.unwrap_or_else(|| panic!("fuzz/seeds/{name} does not exist"));
    let files = folder.read_dir().expect("seeds can be listed").flatten();
    let mut seeds: Vec<_> = files
        .map(|file| {
            let bytes = std::fs::read(file.path()).expect("a seed can be read");
            (file.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    assert!(!seeds.is_empty(), "fuzz/seeds/{name} is empty");
    seeds.sort();
    seeds
}

fn mutate(input: &mut Vec<u8>, seeds: &[(String, Vec<u8>)], random: &mut Random) {
    const EDGES: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x10, 0x40, 0xc0];
    let at = random.below(input.len() + 1);
    let to = at + random.below(input.len() - at + 1).min(64);
    match random.below(7) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..to)),
        2 => {
            let piece = input[at..to].to_vec();
            input.splice(at..at, piece);
        }
        3 => {
            let (_, other) = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend(&other[from..]);
        }
        4 => input.insert(at, EDGES[random.below(EDGES.len())]),
        5 if at < input.len() => input[at] = EDGES[random.below(EDGES.len())],
        _ if at < input.len() => input[at] ^= 1 << random.below(8),
        _ => {}
    }
    // What does not fit a seed does not get far either.
    input.truncate(64 << 10);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}
