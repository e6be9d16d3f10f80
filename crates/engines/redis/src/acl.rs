//! Who may do what: users, their rules, and what was denied.
//!
//! [`User`] in `acl/user.rs` has passwords and [`Selector`]s, one of which must allow all of a command;
//! `acl/check.rs` decides that. `acl/catalog.rs` numbers the commands of the dispatch table, `acl/category.rs` says to
//! which categories each belongs. The rules are Redis's:
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>.
//!
//! Every instance has users of its own, as every server of a cluster has.

mod catalog;
mod category;
mod check;
mod file;
mod log;
mod selector;
#[cfg(test)]
mod tests;
mod user;

use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) use catalog::catalog;
pub(crate) use category::Categories;
pub(crate) use check::Denied;
pub(crate) use log::{Denial, Log, Occasion, Reason};
pub(crate) use selector::{RuleError, Selector};
pub(crate) use user::{Defaults, User, has_spaces};

use crate::config::Settings;

/// The user that a connection has until it names another.
pub(crate) const DEFAULT: &[u8] = b"default";

/// The users of one instance, and what they were denied.
#[derive(Debug)]
pub(crate) struct Acl {
    users: BTreeMap<Vec<u8>, Rc<User>>,
    pub(crate) log: Log,
    /// The file of users as it was last read or written.
    file: Option<Vec<u8>>,
}

impl Acl {
    /// The users of a process that has just started: those of its configuration, or those of its file.
    pub(crate) fn new(settings: &Settings, file: Option<Vec<u8>>) -> Acl {
        let mut acl = Acl { users: BTreeMap::new(), log: Log::default(), file: None };
        acl.put(User::default_user());
        acl.set_default_password(&settings.password);
        for (name, rules) in &settings.acl.users {
            let mut user = User::new(name, settings.acl.defaults);
            // They were checked when the configuration was read.
            let _ = user.apply_all(rules.iter().map(Vec::as_slice), settings.acl.defaults);
            acl.put(user);
        }
        if let Some(file) = file {
            // It was good when it was read or written.
            let _ = acl.load(settings, file);
        }
        acl
    }

    /// The process starts again.
    pub(crate) fn restart(&mut self, settings: &Settings) {
        *self = Acl::new(settings, self.file.take());
    }

    /// The user of this name.
    pub(crate) fn user(&self, name: &[u8]) -> Option<&Rc<User>> {
        self.users.get(name)
    }

    /// All users, in the order of their names.
    pub(crate) fn users(&self) -> impl ExactSizeIterator<Item = &Rc<User>> {
        self.users.values()
    }

    /// The user of new connections.
    pub(crate) fn default_user(&self) -> Rc<User> {
        match self.users.get(DEFAULT) {
            Some(user) => Rc::clone(user),
            // It cannot be deleted.
            None => Rc::new(User::new(DEFAULT, Defaults::default())),
        }
    }

    /// True if new connections have to log in first.
    pub(crate) fn requires_login(&self) -> bool {
        self.users.get(DEFAULT).is_none_or(|user| !user.admits_anybody())
    }

    /// Adds a user, or replaces the one of this name.
    pub(crate) fn put(&mut self, user: User) -> Rc<User> {
        let user = Rc::new(user);
        self.users.insert(user.name().to_vec(), Rc::clone(&user));
        user
    }

    /// Removes a user, but never the default one.
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        name != DEFAULT && self.users.remove(name).is_some()
    }

    /// `requirepass`: the default user's only password; none if it is empty.
    pub(crate) fn set_default_password(&mut self, password: &[u8]) {
        let mut user = User::clone(&self.default_user());
        user.set_only_password(password);
        self.put(user);
    }

    /// Replaces all users by those of a file, or says what is wrong with that and changes nothing.
    pub(crate) fn load(&mut self, settings: &Settings, file: Vec<u8>) -> Result<(), String> {
        let mut users = file::parse(&file, &settings.acl.file, settings.acl.defaults)?;
        users.entry(DEFAULT.to_vec()).or_insert_with(User::default_user);
        self.users = users.into_iter().map(|(name, user)| (name, Rc::new(user))).collect();
        self.file = Some(file);
        Ok(())
    }

    /// All users as a file has them.
    pub(crate) fn file_text(&self) -> Vec<u8> {
        file::write(self.users())
    }

    /// The file was written.
    pub(crate) fn saved(&mut self, file: Vec<u8>) {
        self.file = Some(file);
    }
}
