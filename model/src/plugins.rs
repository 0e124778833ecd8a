//! A table of plug-ins: those of this crate, and those added by a program.
//!
//! A table does not change after its first lookup. A name therefore means the same in every workflow that the program
//! replays and in every artifact that it reads. A plug-in that is added later is refused.
//!
//! - **In**: the crate's own plug-ins, then once those of the program.
//! - **Out**: a plug-in by its name, or all of them.
//! - **Callers**: features and trainers, each with a table; the gate, which applies the same rules to names.

use std::sync::OnceLock;

/// Plug-ins of one kind, by name.
pub struct Plugins<T: ?Sized + 'static> {
    kind: &'static str,
    name: fn(&T) -> &'static str,
    ours: &'static [&'static T],
    theirs: OnceLock<Vec<&'static T>>,
}

/// A plug-in that cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Names go into histories, manifests and labels of metrics.
    #[error("the {kind} `{name}` cannot be added: a name has 1 to 64 characters, each one of a-z, 0-9 and _")]
    Name {
        /// The kind of plug-in.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The name is already taken.
    #[error("the {kind} `{name}` cannot be added: the name is already taken")]
    Taken {
        /// The kind of plug-in.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A plug-in was already looked up, or others were already added.
    #[error(
        "a {kind} cannot be added any more: the table is in use. Add all of them at once, before anything is trained, \
         loaded or checked"
    )]
    Late {
        /// The kind of plug-in.
        kind: &'static str,
    },
}

impl<T: ?Sized> Plugins<T> {
    /// A table of this crate's own plug-ins. `kind` is what messages call a plug-in.
    pub(crate) const fn new(kind: &'static str, name: fn(&T) -> &'static str, ours: &'static [&'static T]) -> Self {
        Self { kind, name, ours, theirs: OnceLock::new() }
    }

    /// Every plug-in: the crate's own, then the added ones.
    ///
    /// After the first call nothing can be added.
    pub fn all(&self) -> impl Iterator<Item = &'static T> {
        self.ours.iter().chain(self.theirs.get_or_init(Vec::new)).copied()
    }

    /// The plug-in with this name. After the first call nothing can be added.
    pub fn find(&self, name: &str) -> Option<&'static T> {
        self.all().find(|plugin| (self.name)(plugin) == name)
    }

    /// All names, for messages.
    pub fn names(&self) -> String {
        self.all().map(self.name).collect::<Vec<_>>().join(", ")
    }

    /// Adds plug-ins, once. Adding plug-ins with the same names again changes nothing.
    pub fn add(&self, theirs: &[&'static T]) -> Result<(), Refused> {
        check_names(self.kind, self.name, self.ours, theirs)?;
        let names = |plugins: &[&'static T]| plugins.iter().map(|plugin| (self.name)(plugin)).collect::<Vec<_>>();
        let there = self.theirs.get_or_init(|| theirs.to_vec());
        if names(there) == names(theirs) { Ok(()) } else { Err(Refused::Late { kind: self.kind }) }
    }
}

/// Checks the names of added plug-ins: their form, and that no name is taken twice.
pub fn check_names<T: ?Sized>(
    kind: &'static str,
    name: fn(&T) -> &'static str,
    ours: &[&'static T],
    theirs: &[&'static T],
) -> Result<(), Refused> {
    let mut taken: Vec<&str> = ours.iter().map(|plugin| name(plugin)).collect();
    for plugin in theirs.iter().map(|plugin| name(plugin)) {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !(1..=64).contains(&plugin.len()) || !plugin.chars().all(is_plain) {
            return Err(Refused::Name { kind, name: plugin.to_owned() });
        }
        if taken.contains(&plugin) {
            return Err(Refused::Taken { kind, name: plugin.to_owned() });
        }
        taken.push(plugin);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(ours: &'static [&'static str]) -> Plugins<str> {
        // A `&'static str` is its own name.
        Plugins::new("word", |word| Box::leak(word.to_owned().into_boxed_str()), ours)
    }

    #[test]
    fn what_is_added_is_found_and_all_come_in_order() {
        let words = table(&["one", "two"]);
        words.add(&["four", "three"]).unwrap();
        assert_eq!(words.find("three"), Some("three"));
        assert_eq!(words.names(), "one, two, four, three");
        assert_eq!(words.find("five"), None);
        words.add(&["four", "three"]).unwrap();
    }

    #[test]
    fn what_comes_too_late_is_refused() {
        let words = table(&["one"]);
        assert_eq!(words.find("two"), None);
        assert_eq!(words.add(&["two"]), Err(Refused::Late { kind: "word" }));
        words.add(&[]).unwrap();
        assert_eq!(words.find("two"), None, "an answer does not change");
        let words = table(&["one"]);
        words.add(&["two"]).unwrap();
        assert_eq!(words.add(&["three"]), Err(Refused::Late { kind: "word" }));
    }

    #[test]
    fn a_name_is_plain_and_nobody_elses() {
        let words = table(&["one"]);
        for wrong in ["", "Two", "two words", "zw\u{f6}lf", &"a".repeat(65)] {
            let wrong: &'static str = Box::leak(wrong.to_owned().into_boxed_str());
            assert!(matches!(words.add(&[wrong]), Err(Refused::Name { .. })), "{wrong}");
        }
        for twice in [["one", "two"], ["two", "two"]] {
            assert!(matches!(words.add(&twice), Err(Refused::Taken { .. })), "{twice:?}");
        }
        words.add(&["two"]).unwrap();
    }
}
