//! Users and the core: what a client may execute, and what becomes of clients when users change.

use std::rc::Rc;

use atoll_kernel::Context;

use super::Cluster;
use crate::acl::{DEFAULT, Denial, Denied, Occasion, Reason, User};
use crate::clients::BlockedOn;
use crate::cluster::InstanceId;
use crate::error::Refusal;
use crate::ops::{Command, describe_client};
use crate::pubsub::SubscriptionKind;
use crate::wire::{Reply, Request};

/// Something to be done with an instance's file of users, which the core has no door to.
#[derive(Debug)]
pub struct UserFileWish {
    /// Whose file.
    pub instance: usize,
    /// What is to be written; None: the file is to be read.
    pub text: Option<Vec<u8>>,
    client: crate::ConnId,
}

impl Cluster {
    /// Refuses what a client's user may not do. To be called for users that are not unrestricted.
    #[cold]
    pub(super) fn check_permission(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        (command, request): (&'static Command, Request<'_>),
        occasion: Occasion,
    ) -> Result<(), Denied> {
        let client = &mut self.clients.list[place];
        let Err(denied) = client.user.check(command, request) else { return Ok(()) };
        if occasion != Occasion::Script && client.last_command() != "exec" {
            client.last = Some(command);
        }
        let object = match denied {
            Denied::Command => command.name.as_bytes().to_vec(),
            Denied::Key(position) | Denied::Channel(position) => request.arg(position).to_vec(),
        };
        let user = client.user.name().to_vec();
        self.record_denial(ctx, place, (denied.into(), occasion), object, user);
        Err(denied)
    }

    /// Redis's check of a command that a client has sent.
    pub(super) fn permit(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        (command, request): (&'static Command, Request<'_>),
        is_queued: bool,
    ) -> Result<(), Refusal> {
        let occasion = if is_queued { Occasion::Transaction } else { Occasion::TopLevel };
        let Err(denied) = self.check_permission(ctx, place, (command, request), occasion) else { return Ok(()) };
        Err(Refusal::text(format!("NOPERM {}", self.denial_text(place, command, denied))))
    }

    /// The check of a command that has waited, whose client may have lost what it was allowed when it began to.
    pub(super) fn permit_waiting(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        (command, request): (&'static Command, Request<'_>),
    ) -> Result<(), Refusal> {
        if self.clients.list[place].is_unrestricted {
            return Ok(());
        }
        self.permit(ctx, place, (command, request), false).inspect_err(|refusal| {
            let id = self.clients.list[place].instance;
            self.count_rejected(id, request, refusal);
        })
    }

    /// The check of a queued command, whose client may have lost what it was allowed when it was queued.
    pub(crate) fn permit_queued(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        (command, request): (&'static Command, Request<'_>),
    ) -> Result<(), Refusal> {
        if self.clients.list[place].is_unrestricted {
            return Ok(());
        }
        let checked = self.check_permission(ctx, place, (command, request), Occasion::Transaction);
        let Err(denied) = checked else { return Ok(()) };
        let reason = match denied {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
        };
        let refusal = Refusal::text(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command \
             is no longer allowed for the following reason: {reason}"
        ));
        self.count_error(self.clients.list[place].instance, &refusal);
        Err(refusal)
    }

    /// What a client is told that may not execute a command.
    pub(crate) fn denial_text(&self, place: usize, command: &Command, denied: Denied) -> String {
        match denied {
            Denied::Command => {
                let user = self.clients.list[place].user.display_name();
                format!("User {user} has no permissions to run the '{}' command", command.name)
            }
            Denied::Key(_) => "No permissions to access a key".to_owned(),
            Denied::Channel(_) => "No permissions to access a channel".to_owned(),
        }
    }

    /// Adds an entry to ACL LOG.
    fn record_denial(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        (reason, occasion): (Reason, Occasion),
        object: Vec<u8>,
        user: Vec<u8>,
    ) {
        let client = &self.clients.list[place];
        let id = client.instance;
        let line = describe_client(ctx, client, None);
        let now_ms = ctx.wall(self.instances[id].node).as_millis();
        let denial = Denial {
            count: 1,
            reason,
            occasion,
            object,
            user,
            client: line.trim_end().to_owned(),
            number: 0,
            created_ms: now_ms,
            updated_ms: now_ms,
        };
        let length_max = self.config.settings.acl.log_length_max;
        self.instances[id].acl.log.add(denial, length_max);
    }

    /// Makes a client another user, if the password is right. `attempted` is the command that it tried to log in with.
    pub(crate) fn log_in(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        (name, password): (&[u8], &[u8]),
        attempted: &[u8],
    ) -> Result<(), Refusal> {
        let client = &self.clients.list[place];
        let user = self.instances[client.instance].acl.user(name).cloned();
        if let Some(user) = user.filter(|user| user.admits(password)) {
            self.clients.list[place].become_user(user, true);
            return Ok(());
        }
        let is_queued = client.transaction.is_some() || client.last_command() == "exec";
        let occasion = if is_queued { Occasion::Transaction } else { Occasion::TopLevel };
        self.record_denial(ctx, place, (Reason::Login, occasion), attempted.to_vec(), name.to_vec());
        Err(Refusal::text("WRONGPASS invalid username-password pair or user is disabled."))
    }

    /// A client is again what it was when it connected.
    pub(crate) fn log_out(&mut self, place: usize) {
        let user = self.instances[self.clients.list[place].instance].acl.default_user();
        let is_authenticated = user.admits_anybody();
        self.clients.list[place].become_user(user, is_authenticated);
    }

    /// Puts a user in the place of the one of its name. Clients that it no longer allows to be subscribed to what they
    /// are subscribed to are disconnected. True if `own` is one of them: it has to have its reply first.
    pub(crate) fn put_user(&mut self, id: InstanceId, user: User, own: usize) -> bool {
        let before = self.instances[id].acl.user(user.name()).cloned();
        let user = self.instances[id].acl.put(user);
        let Some(before) = before else { return false };
        let mut closes_own = false;
        let loses_channels = self.subscriptions > 0 && !user.has_channels_of(&before);
        for place in self.clients.of_user(id, user.name()) {
            if loses_channels && self.is_subscribed_beyond(place, &user) {
                closes_own |= place == own;
                self.disconnect_client(place, own);
            }
            if let Some(client) = self.clients.list.get_mut(place) {
                let is_authenticated = client.is_authenticated;
                client.become_user(Rc::clone(&user), is_authenticated);
            }
        }
        closes_own
    }

    fn is_subscribed_beyond(&mut self, place: usize, user: &User) -> bool {
        [SubscriptionKind::Pattern, SubscriptionKind::Channel, SubscriptionKind::ShardChannel].into_iter().any(|kind| {
            let names = self.subscribed(place, kind);
            names.iter().any(|name| !user.may_subscribe(name, kind == SubscriptionKind::Pattern))
        })
    }

    /// Deletes a user and disconnects its clients. Whether there was such a user, and whether `own` was a client of it.
    pub(crate) fn delete_user(&mut self, id: InstanceId, name: &[u8], own: usize) -> (bool, bool) {
        if !self.instances[id].acl.remove(name) {
            return (false, false);
        }
        (true, self.disconnect_user(id, name, own))
    }

    /// Disconnects all clients of a user that is no more.
    fn disconnect_user(&mut self, id: InstanceId, name: &[u8], own: usize) -> bool {
        let mut closes_own = false;
        for place in self.clients.of_user(id, name) {
            closes_own |= place == own;
            let nobody = self.instances[id].acl.default_user();
            self.clients.list[place].become_user(nobody, false);
            self.disconnect_client(place, own);
        }
        closes_own
    }

    /// Disconnects a client at once; but `own`, which is just being served, when it has its reply.
    fn disconnect_client(&mut self, place: usize, own: usize) {
        let Some(client) = self.clients.list.get_mut(place) else { return };
        if place == own {
            client.is_closing = true;
            return;
        }
        let conn = crate::ConnId { place, number: client.number };
        self.deliver_to(place, Vec::new(), false, true);
        self.disconnect(conn);
    }

    /// `requirepass` was set.
    pub(crate) fn follow_password(&mut self) {
        for id in 0..self.instances.len() {
            self.instances[id].acl.set_default_password(&self.config.settings.password);
            self.refresh_default(id);
        }
    }

    fn refresh_default(&mut self, id: InstanceId) {
        let user = self.instances[id].acl.default_user();
        for place in self.clients.of_user(id, DEFAULT) {
            let client = &mut self.clients.list[place];
            let is_authenticated = client.is_authenticated;
            client.become_user(Rc::clone(&user), is_authenticated);
        }
    }

    /// A client waits until the file of users is read or written.
    pub(super) fn park_on_user_file(&mut self, place: usize, writes: bool) {
        let client = &self.clients.list[place];
        let (instance, conn) = (client.instance, crate::ConnId { place, number: client.number });
        let text = writes.then(|| self.instances[instance].acl.file_text());
        self.user_file_wishes.push(UserFileWish { instance, text, client: conn });
        self.clients.block(place, BlockedOn::UserFile, None);
    }

    /// What is to be done with files of users since the last call; [`Cluster::user_file_done`] wants to know the outcome.
    pub fn take_user_file_wishes(&mut self) -> Vec<UserFileWish> {
        std::mem::take(&mut self.user_file_wishes)
    }

    /// A wish was fulfilled: what was read (or written), or why not in the operating system's words.
    pub fn user_file_done(&mut self, wish: UserFileWish, outcome: Result<Vec<u8>, String>) {
        let (id, conn) = (wish.instance, wish.client);
        let waits = self.clients.get(conn).and_then(|client| client.blocked.as_ref());
        if !waits.is_some_and(|blocked| matches!(blocked.on, BlockedOn::UserFile)) {
            return;
        }
        self.clients.unblock(conn.place);
        let name = &self.config.settings.acl.file;
        let done = match (wish.text, outcome) {
            (Some(text), Ok(_)) => {
                self.instances[id].acl.saved(text);
                Ok(false)
            }
            (Some(_), Err(_)) => {
                Err("There was an error trying to save the ACLs. Please check the server logs for more \
                                      information"
                    .to_owned())
            }
            (None, Ok(text)) => self.load_users(id, text, conn.place),
            (None, Err(reason)) => Err(format!("Error loading ACLs, opening file '{name}': {reason}")),
        };
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, false);
        match &done {
            Ok(_) => reply.ok(),
            Err(text) => reply.error(&format!("ERR {text}")),
        }
        self.wait_is_over(conn.place, out.strip_prefix(b"-"));
        self.deliver_to(conn.place, out, true, done.unwrap_or(false));
    }

    /// Replaces the users of an instance by those of a file. All clients are disconnected but those of the default user.
    /// True if `own` is to be.
    fn load_users(&mut self, id: InstanceId, file: Vec<u8>, own: usize) -> Result<bool, String> {
        let settings = &self.config.settings;
        let acl = &mut self.instances[id].acl;
        let before: Vec<Vec<u8>> =
            acl.users().map(|user| user.name().to_vec()).filter(|name| name != DEFAULT).collect();
        acl.load(settings, file)?;
        self.refresh_default(id);
        let mut closes_own = false;
        for name in before {
            closes_own |= self.disconnect_user(id, &name, own);
        }
        Ok(closes_own)
    }

    /// Reads the users of an instance from a file, before the start.
    pub(crate) fn begin_with_users(&mut self, id: InstanceId, file: Vec<u8>) -> Result<(), String> {
        self.instances[id].acl.load(&self.config.settings, file)
    }
}
