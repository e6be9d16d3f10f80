//! Whether a command is executed: Redis's checks, in Redis's order.

use std::borrow::Cow;

use atoll_kernel::{Context, DiskHealth};

use super::Cluster;
use crate::cluster::{InstanceId, Question, Route, decide};
use crate::error::Refusal;
use crate::ops::{Answer, Command, Flags, Then, lookup, lookup_subcommand};
use crate::wire::{Reply, Request};

/// How much of a transaction one client may queue.
const TRANSACTION_SIZE_MAX: usize = 1 << 30;

impl Cluster {
    #[inline]
    pub(super) fn admit_and_execute(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        request: Request<'_>,
        out: &mut Vec<u8>,
    ) -> Answer {
        let command = match self.admit(ctx, place, request) {
            Ok(command) => command,
            Err(refusal) => {
                self.refused(place, request);
                let id = self.clients.list[place].instance;
                if request.arg(0).eq_ignore_ascii_case(b"exec") && !matches!(refusal, Refusal::Arity(_)) {
                    let line = format!("EXECABORT Transaction discarded because of: {}", refusal.line());
                    let refusal = Refusal::text(line);
                    self.count_rejected(id, request, &refusal);
                    self.show_aborted_exec(ctx, id, place, request);
                    return Err(refusal);
                }
                self.count_rejected(id, request, &refusal);
                return Err(refusal);
            }
        };
        if self.must_wait(place, command, request) {
            return Ok(Then::Postpone);
        }
        if !ctx.is_healthy() && self.meets_bad_disk(ctx, place, command) {
            return Ok(Then::Close);
        }
        let client = &mut self.clients.list[place];
        client.is_asking = false;
        if client.transaction.is_some() && !command.flags.has(Flags::CONTROLS_MULTI) {
            return self.queue(place, request, out);
        }
        client.last = Some(command);
        self.execute(ctx, place, command, request, out, true)
    }

    /// A command that was refused spoils the transaction that it was meant for.
    fn refused(&mut self, place: usize, request: Request<'_>) {
        let client = &mut self.clients.list[place];
        client.is_asking = false;
        let Some(transaction) = &mut client.transaction else { return };
        transaction.is_refused = true;
        if request.arg(0).eq_ignore_ascii_case(b"exec") {
            client.transaction = None;
            self.unwatch(place);
        }
    }

    #[inline]
    fn admit(&mut self, ctx: &Context<'_>, place: usize, request: Request<'_>) -> Result<&'static Command, Refusal> {
        let command = self.find_again(place, request)?;
        if !command.accepts(request.len()) {
            return Err(Refusal::Arity(command.name.to_owned()));
        }
        let client = &self.clients.list[place];
        if !command.flags.has(Flags::NO_AUTH) && self.must_log_in(client) {
            return Err(Refusal::text("NOAUTH Authentication required."));
        }
        if client.transaction.is_some() && command.flags.has(Flags::NO_MULTI) {
            return Err(Refusal::text("ERR Command not allowed inside a transaction"));
        }
        if !client.is_unrestricted {
            let is_queued = client.transaction.is_some();
            self.permit(ctx, place, (command, request), is_queued)?;
        }
        let client = &self.clients.list[place];
        let described;
        let effective = if command.flags.has(Flags::SCRIPT) {
            described = self.script_command(client.instance, command, request);
            &described
        } else {
            command
        };
        if self.config.settings.is_cluster && (!command.keys.is_empty() || command.name == "exec") {
            self.check_route(ctx, place, effective, request)?;
        }
        if self.config.settings.memory_max > 0 {
            let effective = *effective;
            self.check_memory(ctx, place, &effective)?;
        }
        let is_write = effective.flags.has(Flags::WRITE);
        if (self.log_failure.is_some() || !ctx.is_healthy()) && (is_write || command.name == "ping") {
            self.check_disk(ctx, self.clients.list[place].instance)?;
        }
        if is_write {
            self.check_snapshots(self.clients.list[place].instance)?;
            self.check_replication(ctx, self.clients.list[place].instance)?;
        }
        let client = &self.clients.list[place];
        if client.subscriptions() > 0 && !client.is_resp3 && !is_allowed_when_subscribed(command.name) {
            return Err(Refusal::text(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
                 context",
                command.name
            )));
        }
        let instance = &self.instances[client.instance];
        let is_cut_off = instance.upstream.as_ref().is_some_and(|upstream| !upstream.is_up());
        if is_cut_off || instance.link.master.is_some() && !instance.link.is_up {
            let serves = self.config.settings.serves_stale || effective.flags.has(Flags::STALE);
            if !serves {
                return Err(Refusal::text(
                    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                ));
            }
        }
        if instance.loading_until.is_some_and(|until| until > ctx.now()) && !command.flags.has(Flags::LOADING) {
            return Err(Refusal::text("LOADING Redis is loading the dataset in memory"));
        }
        if client.is_monitor && command.flags.has(Flags::WRITE.or(Flags::READONLY)) {
            return Err(Refusal::text("ERR Replica can't interact with the keyspace"));
        }
        if self.scripts.is_busy(client.instance) && !command.flags.has(Flags::ALLOW_BUSY) {
            return Err(self.busy_refusal(client.instance));
        }
        Ok(command)
    }

    /// The command that a request of a client names: most often the one before it was for the same.
    #[inline]
    fn find_again(&self, place: usize, request: Request<'_>) -> Result<&'static Command, Refusal> {
        let is_named = |command: &&Command| command.is_called(request.arg(0)) && command.subcommands().is_empty();
        self.clients.list[place].last.filter(is_named).map_or_else(|| find(request), Ok)
    }

    #[inline]
    fn check_route(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        command: &Command,
        request: Request<'_>,
    ) -> Result<(), Refusal> {
        let client = &self.clients.list[place];
        let (id, access) = (client.instance, client.access());
        if self.has_open_slots(id) || command.name == "migrate" {
            let route = self.route_by_keys(ctx, place, command, request);
            return route
                .refusal(|to| self.advertised(ctx, to, access))
                .map_or(Ok(()), |line| Err(Refusal::Text(line)));
        }
        let view = &self.instances[id].view;
        let route = match &client.transaction {
            Some(transaction) if command.name == "exec" => {
                let routes = transaction.queue.iter().filter_map(|queued| {
                    let request = queued.as_request();
                    let command = find(request).ok().filter(|command| !command.keys.is_empty())?;
                    Some(decide(view, id, &self.config.settings, command, request, client.reads_replica))
                });
                routes.into_iter().find(|route| *route != Route::Here).unwrap_or(Route::Here)
            }
            _ if command.name == "exec" => Route::Here,
            _ => decide(view, id, &self.config.settings, command, request, client.reads_replica),
        };
        let address = |to| self.advertised(ctx, to, access);
        match route.refusal(address) {
            None => Ok(()),
            Some(line) => Err(Refusal::Text(line)),
        }
    }

    /// While slots are open it depends on the keys where a request goes; EXEC counts all that are queued.
    fn route_by_keys(&mut self, ctx: &Context<'_>, place: usize, command: &Command, request: Request<'_>) -> Route {
        let client = &self.clients.list[place];
        let (id, reads_replica) = (client.instance, client.reads_replica);
        let is_asking = client.is_asking || command.flags.has(Flags::ASKING);
        let queue = match &client.transaction {
            Some(transaction) if command.name == "exec" => transaction.queue.clone(),
            _ => Vec::new(),
        };
        let mut flags = command.flags;
        let mut keys = keys_of(command, request);
        for queued in &queue {
            if let Ok(queued_command) = find(queued.as_request()) {
                flags = flags.or(queued_command.flags);
                keys.extend(keys_of(queued_command, queued.as_request()));
            }
        }
        let is_migrate = command.name == "migrate";
        self.decide_open(ctx, id, &Question { keys, flags, is_migrate, is_asking, reads_replica })
    }

    /// Whether an instance accepts writes, as far as its disk and its replicas go.
    pub(crate) fn check_write(&self, ctx: &Context<'_>, id: InstanceId) -> Result<(), Refusal> {
        self.check_disk(ctx, id)?;
        self.check_replication(ctx, id)
    }

    /// A write is about to go to a disk that cannot take it. With `appendfsync always` that ends the process: true. Otherwise
    /// this write is accepted still, and no other.
    fn meets_bad_disk(&mut self, ctx: &Context<'_>, place: usize, command: &Command) -> bool {
        let client = &self.clients.list[place];
        let id = client.instance;
        let disk = ctx.disk(self.instances[id].node);
        if !self.config.settings.has_log || !matches!(disk, DiskHealth::Full | DiskHealth::Failing) {
            return false;
        }
        let queued = client.transaction.as_ref().map_or(&[][..], |transaction| &transaction.queue);
        let writes = |queued: &crate::wire::OwnedRequest| {
            find(queued.as_request()).is_ok_and(|command| command.flags.has(Flags::WRITE))
        };
        let is_write = match &client.transaction {
            Some(_) => command.name == "exec" && queued.iter().any(writes),
            None => command.flags.has(Flags::WRITE),
        };
        if !is_write {
            return false;
        }
        if self.cannot_write_always(disk) {
            self.exit(ctx, id);
            return true;
        }
        self.instances[id].log_refuses = true;
        false
    }

    /// A master whose append-only file cannot be written accepts no writes.
    pub(crate) fn check_disk(&self, ctx: &Context<'_>, id: InstanceId) -> Result<(), Refusal> {
        if !self.config.settings.has_log || !self.is_master(id) {
            return Ok(());
        }
        if !self.instances[id].log_refuses && self.log_failure.is_none() {
            return Ok(());
        }
        let reason: Cow<'static, str> = match ctx.disk(self.instances[id].node) {
            DiskHealth::Full => "No space left on device".into(),
            DiskHealth::Failing => "Input/output error".into(),
            DiskHealth::Ok | DiskHealth::Slow(_) => match &self.log_failure {
                Some(reason) => reason.clone().into(),
                None => return Ok(()),
            },
        };
        Err(Refusal::text(format!("MISCONF Errors writing to the AOF file: {reason}")))
    }

    /// A master that is to save and cannot accepts no writes.
    #[inline]
    fn check_snapshots(&self, id: InstanceId) -> Result<(), Refusal> {
        let settings = &self.config.settings;
        if settings.save_points.is_empty() || !settings.stops_on_save_error {
            return Ok(());
        }
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset));
        if !dataset.is_some_and(|dataset| dataset.owner == id && dataset.saves.has_failed) {
            return Ok(());
        }
        Err(Refusal::text(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands \
             that may modify the data set are disabled, because this instance is configured to report errors during \
             writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for \
             details about the RDB error.",
        ))
    }

    #[inline]
    pub(crate) fn check_replication(&self, ctx: &Context<'_>, id: InstanceId) -> Result<(), Refusal> {
        let settings = &self.config.settings;
        let is_master = (!settings.is_cluster || self.is_master(id)) && self.instances[id].upstream.is_none();
        if is_master && settings.min_replicas == 0 { Ok(()) } else { self.check_replicas(ctx, id) }
    }

    #[cold]
    fn check_replicas(&self, ctx: &Context<'_>, id: InstanceId) -> Result<(), Refusal> {
        let settings = &self.config.settings;
        let is_replica_of_real =
            self.instances[id].upstream.is_some() && self.config.get("replica-read-only") == Some("yes");
        let is_master = (!settings.is_cluster || self.is_master(id)) && !is_replica_of_real;
        if is_master && settings.min_replicas > 0 && self.good_replicas(ctx, id) < settings.min_replicas {
            return Err(Refusal::text("NOREPLICAS Not enough good replicas to write."));
        }
        if !is_master {
            return Err(Refusal::text("READONLY You can't write against a read only replica."));
        }
        Ok(())
    }

    /// Monitors have seen MULTI, and see that it has come to nothing.
    fn show_aborted_exec(&mut self, ctx: &Context<'_>, id: InstanceId, place: usize, request: Request<'_>) {
        if let Ok(command) = find(request).map_err(drop)
            && !self.instances[id].telemetry.monitors.is_empty()
        {
            self.feed_monitors(ctx, id, place, command, request);
        }
    }

    /// Keeps a request for EXEC.
    pub(crate) fn queue(&mut self, place: usize, request: Request<'_>, out: &mut Vec<u8>) -> Answer {
        let client = &mut self.clients.list[place];
        if let Some(transaction) = &mut client.transaction {
            let request = request.to_owned();
            transaction.size += request.size();
            if transaction.size > TRANSACTION_SIZE_MAX {
                return Ok(Then::Close);
            }
            transaction.queue.push(request);
        }
        Reply::new(out, client.is_resp3).raw(b"+QUEUED\r\n");
        Ok(Then::Done)
    }
}

/// The command that a request names, subcommand included.
#[inline]
pub(crate) fn find(request: Request<'_>) -> Result<&'static Command, Refusal> {
    let Some(command) = lookup(request.arg(0)) else { return Err(unknown(request)) };
    if request.len() < 2 || command.subcommands().is_empty() {
        return Ok(command);
    }
    lookup_subcommand(command, request.arg(1)).ok_or_else(|| {
        let name = String::from_utf8_lossy(&request.arg(1)[..request.arg(1).len().min(128)]).into_owned();
        Refusal::UnknownSubcommand(Box::new((name, command.name.to_ascii_uppercase())))
    })
}

/// A request's keys. MIGRATE's stand behind KEYS if there are several.
pub(super) fn keys_of<'r>(command: &Command, request: Request<'r>) -> Vec<&'r [u8]> {
    if command.name == "migrate" && request.arg(3).is_empty() {
        let keyword = (6..request.len()).find(|index| request.arg(*index).eq_ignore_ascii_case(b"keys"));
        return keyword.map_or_else(Vec::new, |index| request.tail(index + 1).collect());
    }
    command.key_positions(request).map(|position| request.arg(position)).collect()
}

/// Redis quotes up to 128 bytes of the name and of the arguments.
fn unknown(request: Request<'_>) -> Refusal {
    const QUOTED_MAX: usize = 128;
    let quote = |bytes: &[u8], limit: usize| String::from_utf8_lossy(&bytes[..bytes.len().min(limit)]).into_owned();
    let mut arguments = String::new();
    for argument in request.tail(1) {
        if arguments.len() >= QUOTED_MAX {
            break;
        }
        arguments.push_str(&format!("'{}' ", quote(argument, QUOTED_MAX - arguments.len())));
    }
    Refusal::text(format!(
        "ERR unknown command '{}', with args beginning with: {arguments}",
        quote(request.arg(0), QUOTED_MAX)
    ))
}

fn is_allowed_when_subscribed(name: &str) -> bool {
    matches!(
        name,
        "ping"
            | "subscribe"
            | "ssubscribe"
            | "unsubscribe"
            | "sunsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "quit"
            | "reset"
    )
}
