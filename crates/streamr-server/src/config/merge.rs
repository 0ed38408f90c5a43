//! Layers over the default: pure, so that what wins is a matter of one test.

use toml::{Table, Value};

use super::Config;
use crate::Error;

/// One source of settings, named for messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    name: String,
    table: Table,
}

impl Layer {
    /// A file's text; `name` is its path.
    ///
    /// # Errors
    /// `Error::Config` if it is not TOML, with the line.
    pub fn file(name: impl Into<String>, text: &str) -> Result<Self, Error> {
        let name = name.into();
        match text.parse() {
            Ok(table) => Ok(Self { name, table }),
            Err(error) => Err(Error::Config(format!("{name} is not TOML: {error}"))),
        }
    }
}

/// The environment's layer: `STREAMR_HTTP_LISTEN` is `http.listen`. Other variables are left
/// alone; so are the `STREAMR_*` in `reserved`.
///
/// # Errors
/// `Error::Config` for a `STREAMR_*` that is no key, or a value of the wrong kind.
pub fn environment<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    reserved: &[&str],
) -> Result<Layer, Error> {
    let known = keys();
    let named: Vec<_> = known.iter().map(|key| variable(key)).collect();
    let mut table = Table::new();
    for (name, text) in variables {
        if !name.starts_with("STREAMR_") || reserved.contains(&name) {
            continue;
        }
        let Some(index) = named.iter().position(|known| known == name) else {
            return Err(unknown("the environment", name, named.iter().map(String::as_str)));
        };
        set(&mut table, &known[index], text, name)?;
    }
    Ok(Layer { name: "the environment".to_owned(), table })
}

/// The flags' layer: `("http.listen", ":80")`.
///
/// # Errors
/// `Error::Config` for what is no key, or a value of the wrong kind.
pub fn flags<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Layer, Error> {
    let known = keys();
    let mut table = Table::new();
    for (key, text) in settings {
        if !known.iter().any(|known| known == key) {
            return Err(unknown("the flags", key, known.iter().map(String::as_str)));
        }
        set(&mut table, key, text, key)?;
    }
    Ok(Layer { name: "the flags".to_owned(), table })
}

pub(super) fn merge(layers: &[Layer]) -> Result<Config, Error> {
    let mut merged = defaults();
    for layer in layers {
        over(&mut merged, &layer.table, &layer.name, "")?;
    }
    // The kinds were checked; what is left to refuse are the words of an enum and number ranges.
    merged.try_into().map_err(|error: toml::de::Error| Error::Config(key_first(&error.to_string())))
}

/// `what` of "what\nin `key`\n", as `toml` says it, behind the key.
fn key_first(said: &str) -> String {
    match said.trim_end().rsplit_once("\nin `") {
        Some((what, key)) => format!("{}: {what}", key.trim_end_matches('`')),
        None => said.trim_end().to_owned(),
    }
}

/// Lays `layer` over `base`, which has every key that exists.
fn over(base: &mut Table, layer: &Table, name: &str, path: &str) -> Result<(), Error> {
    for (key, value) in layer {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let Some(old) = base.get_mut(key) else {
            return Err(unknown(name, &full, keys().iter().map(String::as_str)));
        };
        match (old, value) {
            (Value::Table(old), Value::Table(new)) => over(old, new, name, &full)?,
            (old, new) if old.same_type(new) => *old = new.clone(),
            (old, new) => return Err(wrong_kind(name, &full, old, new.type_str())),
        }
    }
    Ok(())
}

/// Puts the text of a flag or variable into a table, as the kind that the key has.
fn set(table: &mut Table, key: &str, text: &str, shown: &str) -> Result<(), Error> {
    let (section, field) = key.split_once('.').unwrap_or(("", key));
    let default = defaults();
    let kind = default.get(section).and_then(|section| section.get(field));
    let kind = kind.unwrap_or_else(|| panic!("{key} came from keys()"));
    let value = match kind {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Array(_) => Some(Value::Array(list(text))),
        _ => Some(Value::String(text.to_owned())),
    };
    let value = value.ok_or_else(|| wrong_kind(shown, key, kind, &format!("\"{text}\"")))?;
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().map(|section| section.insert(field.to_owned(), value));
    Ok(())
}

/// `a, b` or as the file has it, `["a", "b"]`.
fn list(text: &str) -> Vec<Value> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let items = inside.split(',').map(|item| item.trim().trim_matches('"'));
    let items = items.filter(|item| !item.is_empty());
    items.map(|item| Value::String(item.to_owned())).collect()
}

fn defaults() -> Table {
    Table::try_from(Config::default())
        .unwrap_or_else(|error| panic!("a config is always TOML: {error}"))
}

/// Every key there is: `http.listen` …
fn keys() -> Vec<String> {
    let defaults = defaults();
    let sections = defaults.iter().filter_map(|(name, section)| Some((name, section.as_table()?)));
    sections.flat_map(|(name, keys)| keys.keys().map(move |key| format!("{name}.{key}"))).collect()
}

fn variable(key: &str) -> String {
    format!("STREAMR_{}", key.replace('.', "_").to_ascii_uppercase())
}

fn wrong_kind(layer: &str, key: &str, wanted: &Value, found: &str) -> Error {
    let wanted = match wanted {
        Value::Integer(_) => "a whole number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of words",
        Value::Table(_) => "a section of keys",
        _ => "text in quotes",
    };
    Error::Config(format!("{layer}: {key} must be {wanted}, not {found}"))
}

fn unknown<'a>(layer: &str, key: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let near = known.map(|known| (distance(key, known), known)).min();
    let hint = match near {
        Some((distance, near)) if distance <= key.len() / 3 + 1 => format!("did you mean {near}?"),
        _ => "`streamr config example` lists all keys".to_owned(),
    };
    Error::Config(format!("{layer}: there is no key {key}; {hint}"))
}

/// Letters to insert, remove or replace to make one of the other (Levenshtein), of the first 64.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
