//! Scripts and the core: how they are run, what they may do, and what others are told meanwhile.

use std::rc::Rc;
use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::Cluster;
use crate::acl::Occasion;
use crate::cluster::{InstanceId, Route, Run as Process, decide};
use crate::error::Refusal;
use crate::ops::{Command, Flags, Then};
use crate::scripting::{
    Engine, INSTRUCTIONS_MAX, INSTRUCTIONS_PER_MS, Job, Kill, SLICE, ScriptFlags, Signal, Turn, Wish, script_flags,
};
use crate::wire::{OwnedRequest, Reply, Request, encode};

/// A slow script goes on this long after others had their turn.
const PAUSE: Duration = Duration::from_millis(1);
/// `redis.set_repl`: the bit of the append-only file.
const TO_FILE: u8 = 1;
/// The bit of replicas.
const TO_REPLICAS: u8 = 2;

/// The scripts of all instances. An instance that never ran one has no interpreter.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    of: Vec<Option<Box<Scripting>>>,
    /// How many instances are in the middle of a slow script.
    busy: usize,
    /// When those go on.
    wake: Moment,
    /// The number that the next change of a library gets.
    pub(crate) libraries_version: u64,
}

/// An instance's interpreter, and its script if that is slow.
#[derive(Debug)]
pub(crate) struct Scripting {
    pub(crate) engine: Engine,
    pub(crate) run: Option<ScriptRun>,
}

/// What the core knows about a script under way.
#[derive(Debug)]
pub(crate) struct ScriptRun {
    pub(crate) place: usize,
    pub(crate) id: InstanceId,
    pub(crate) is_function: bool,
    pub(crate) name: Rc<str>,
    pub(crate) is_read_only: bool,
    pub(crate) flags: ScriptFlags,
    pub(crate) began: Moment,
    /// What the client sent, once others can ask for it.
    pub(crate) request: OwnedRequest,
    /// It began with too little memory.
    is_short_of_memory: bool,
    /// It has called a command that writes.
    pub(crate) has_written: bool,
    may_pause: bool,
    database: usize,
    slot: Option<u16>,
    /// Where its part of the append-only file begins, what stands before that from earlier turns, and how many commands
    /// are in both.
    log_start: usize,
    held: Vec<u8>,
    writes: usize,
    /// Its client is gone.
    is_orphan: bool,
}

impl Scripts {
    /// True if nothing else is executed on this instance now.
    #[inline]
    pub(crate) fn is_busy(&self, id: InstanceId) -> bool {
        self.busy > 0 && self.running(id).is_some()
    }

    /// True while a script is under way anywhere: the append-only file is not to be rewritten.
    pub(crate) fn is_any_busy(&self) -> bool {
        self.busy > 0
    }

    /// The slow script of an instance.
    pub(crate) fn running(&self, id: InstanceId) -> Option<&ScriptRun> {
        self.of.get(id)?.as_ref()?.run.as_ref()
    }

    /// The interpreter of an instance, if it has one.
    pub(crate) fn engine(&self, id: InstanceId) -> Option<&Engine> {
        Some(&self.of.get(id)?.as_ref()?.engine)
    }

    fn take(&mut self, id: InstanceId) -> Result<Box<Scripting>, Refusal> {
        match self.of.get_mut(id).and_then(Option::take) {
            Some(scripting) => Ok(scripting),
            None => match Engine::new() {
                Ok(engine) => Ok(Box::new(Scripting { engine, run: None })),
                Err(error) => Err(Refusal::text(format!("ERR No interpreter for scripts: {error}"))),
            },
        }
    }

    fn put(&mut self, id: InstanceId, scripting: Box<Scripting>) {
        if self.of.len() <= id {
            self.of.resize_with(id + 1, || None);
        }
        self.of[id] = Some(scripting);
    }

    /// An instance's interpreter is no more, and with it its cache and what runs in it.
    pub(crate) fn forget(&mut self, id: InstanceId) {
        if let Some(scripting) = self.of.get_mut(id).and_then(Option::take) {
            self.busy -= usize::from(scripting.run.is_some());
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Moment> {
        (self.busy > 0).then_some(self.wake)
    }
}

impl Cluster {
    /// Calls `use_it` with an instance's interpreter, which knows the functions of the instance's data.
    pub(crate) fn with_engine<R>(
        &mut self,
        id: InstanceId,
        use_it: impl FnOnce(&mut Engine) -> R,
    ) -> Result<R, Refusal> {
        let mut scripting = self.scripts.take(id)?;
        if let Some(dataset) = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset)) {
            scripting.engine.follow(&dataset.libraries);
        }
        let result = use_it(&mut scripting.engine);
        self.scripts.put(id, scripting);
        Ok(result)
    }

    /// Runs a script until it ends, or until it has taken so long that others get a turn. None: it goes on later.
    pub(crate) fn run_script(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        job: &mut Job<'_>,
        (flags, is_function, is_read_only): (ScriptFlags, bool, bool),
        request: Request<'_>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let client = &self.clients.list[place];
        let (id, database) = (client.instance, client.database);
        let limit_ms = self.config.settings.script_limit_ms;
        let may_pause = client.last_command() != "exec" && limit_ms > 0;
        job.pause_at = if may_pause { limit_ms.saturating_mul(INSTRUCTIONS_PER_MS) } else { INSTRUCTIONS_MAX };
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset));
        let log_start = dataset.and_then(|dataset| dataset.log.as_ref()).map_or(0, Vec::len);
        let mut scripting = self.scripts.take(id)?;
        let first = match scripting.engine.begin(job) {
            Ok(turn) => turn,
            Err(error) => {
                self.scripts.put(id, scripting);
                return Err(Refusal::text(error));
            }
        };
        let mut run = ScriptRun {
            place,
            id,
            is_function,
            name: Rc::clone(&job.name),
            is_read_only: is_read_only || flags.no_writes,
            flags,
            began: ctx.now(),
            request: OwnedRequest::default(),
            is_short_of_memory: self.config.settings.memory_max > 0 && self.is_short_of_memory,
            has_written: false,
            may_pause,
            database,
            slot: None,
            log_start,
            held: Vec::new(),
            writes: 0,
            is_orphan: false,
        };
        let reply = self.drive(ctx, &mut scripting.engine, &mut run, first);
        if reply.is_none() {
            run.request = request.to_owned();
            scripting.run = Some(run);
            self.scripts.busy += 1;
            self.scripts.wake = ctx.now() + PAUSE;
        }
        self.scripts.put(id, scripting);
        Ok(reply)
    }

    /// Gives a script what it wants, until it ends. Its reply, or None if it is to go on later.
    fn drive(
        &mut self,
        ctx: &Context<'_>,
        engine: &mut Engine,
        run: &mut ScriptRun,
        mut turn: Turn,
    ) -> Option<Vec<u8>> {
        loop {
            let mut signal = Signal::Go;
            match turn {
                Turn::End(reply) => {
                    self.settle_log(run);
                    return Some(reply);
                }
                Turn::Wish(Wish::Execute) => self.execute_for_script(ctx, engine, run),
                Turn::Wish(Wish::MayExecute) => signal = self.may_execute(engine, run.place),
                Turn::Wish(Wish::Pause) if run.may_pause => {
                    self.hold_log(run);
                    engine.bridge.pause_at.set(engine.bridge.instructions() + SLICE);
                    return None;
                }
                Turn::Wish(Wish::Pause) => engine.bridge.kill(Kill::Ceiling),
            }
            turn = engine.resume(signal);
        }
    }

    /// Slow scripts go on.
    pub(super) fn advance_scripts(&mut self, ctx: &Context<'_>) {
        if self.scripts.busy == 0 || ctx.now() < self.scripts.wake {
            return;
        }
        self.scripts.wake = ctx.now() + PAUSE;
        for id in 0..self.scripts.of.len() {
            if !self.scripts.is_busy(id) || self.instances[id].run != Process::Up {
                continue;
            }
            let Some(mut scripting) = self.scripts.of[id].take() else { continue };
            let Some(mut run) = scripting.run.take() else { continue };
            run.log_start = self.log_length(id);
            let turn = scripting.engine.resume(Signal::Go);
            let reply = self.drive(ctx, &mut scripting.engine, &mut run, turn);
            if let Some(mut reply) = reply {
                self.append_own_pushes(run.place, &mut reply);
                self.scripts.busy -= 1;
                self.end_unit(id, Some(run.place));
                self.clients.unblock(run.place);
                self.scripts.put(id, scripting);
                self.script_is_over(ctx, &run, &reply);
                match run.is_orphan {
                    true => self.forget_client(run.place),
                    false => self.deliver_to(run.place, reply, true, false),
                }
                self.serve_ready(ctx, id);
            } else {
                scripting.run = Some(run);
                self.scripts.put(id, scripting);
            }
        }
    }

    /// A slow script's call is over: it is counted, with all the time since it began.
    fn script_is_over(&mut self, ctx: &Context<'_>, run: &ScriptRun, reply: &[u8]) {
        self.measured_at = ctx.kernel().now();
        let took = self.measured_at.since(run.began);
        if let Some(client) = self.clients.list.get_mut(run.place) {
            client.spent_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        }
        let ended = self.wait_is_over(run.place, reply.strip_prefix(b"-"));
        if let Some((command, nanoseconds)) = ended {
            self.note_latency(ctx, run.id, "command", took);
            self.log_slow(ctx, run.id, run.place, (command, run.request.as_request()), nanoseconds);
        }
    }

    /// A client is gone. True if its script still runs: until it ends the client is needed.
    pub(super) fn leaves_script_behind(&mut self, place: usize) -> bool {
        if self.scripts.busy == 0 {
            return false;
        }
        let runs = self.scripts.of.iter_mut().flatten().filter_map(|scripting| scripting.run.as_mut());
        runs.filter(|run| run.place == place).map(|run| run.is_orphan = true).next().is_some()
    }

    /// SCRIPT KILL and FUNCTION KILL.
    pub(crate) fn kill_script(&mut self, id: InstanceId, is_function: bool) -> Result<(), Refusal> {
        let Some(run) = self.scripts.running(id) else {
            return Err(Refusal::text("NOTBUSY No scripts in execution right now."));
        };
        if run.has_written {
            return Err(Refusal::text(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
                 script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            ));
        }
        if run.is_function != is_function {
            return Err(self.busy_refusal(id));
        }
        if let Some(engine) = self.scripts.engine(id) {
            engine.bridge.kill(if is_function { Kill::Function } else { Kill::Script });
        }
        Ok(())
    }

    /// What others are told while a script runs.
    pub(crate) fn busy_refusal(&self, id: InstanceId) -> Refusal {
        let kill = match self.scripts.running(id).is_some_and(|run| run.is_function) {
            true => "FUNCTION KILL",
            false => "SCRIPT KILL",
        };
        Refusal::text(format!("BUSY Redis is busy running a script. You can only call {kill} or SHUTDOWN NOSAVE."))
    }

    /// What the flags of a script's first line make of the command that runs it: whether it writes, mostly.
    pub(crate) fn script_command(&self, id: InstanceId, command: &'static Command, request: Request<'_>) -> Command {
        let flags = self.flags_of(id, command.name, request).filter(|flags| !flags.is_plain);
        let mut described = *command;
        let Some(flags) = flags else {
            // A replica runs it if it may be asked at all: what it then does is seen.
            described.flags = described.flags.or(Flags::READONLY);
            return described;
        };
        // What it may do is known, so that it need not be supposed.
        described.flags = described.flags.without(Flags::STALE.or(Flags::MAY_REPLICATE));
        if !flags.allow_oom && !flags.no_writes {
            described.flags = described.flags.or(Flags::DENYOOM);
        }
        let writes = !flags.no_writes && !command.flags.has(Flags::READONLY);
        described.flags = described.flags.or(if writes { Flags::WRITE } else { Flags::READONLY });
        if flags.allow_stale {
            described.flags = described.flags.or(Flags::STALE);
        }
        described
    }

    fn flags_of(&self, id: InstanceId, name: &str, request: Request<'_>) -> Option<ScriptFlags> {
        let body = request.arg(1);
        match name {
            "eval" | "eval_ro" if !body.starts_with(b"#!") => None,
            "eval" | "eval_ro" => {
                let cached = self.scripts.engine(id).and_then(|engine| engine.script_of(body));
                cached.map_or_else(|| script_flags(body), |script| Some(script.flags))
            }
            "evalsha" | "evalsha_ro" => {
                let digest = body.to_ascii_lowercase().try_into().ok()?;
                self.scripts.engine(id)?.script(&digest).map(|script| script.flags)
            }
            _ => {
                let dataset = self.datasets.get(self.instances[id].dataset?)?;
                let name = std::str::from_utf8(body).ok()?;
                let mut functions = dataset.libraries.list.values().flat_map(|library| &library.functions);
                functions.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, info)| info.flags)
            }
        }
    }

    /// Executes the command that a script has put into the bridge.
    fn execute_for_script(&mut self, ctx: &Context<'_>, engine: &Engine, run: &mut ScriptRun) {
        let request = engine.bridge.request.borrow();
        let mut reply = engine.bridge.reply.borrow_mut();
        reply.clear();
        let request = request.as_request();
        let is_resp3 = engine.bridge.is_resp3.get();
        let answer = match self.admit_for_script(ctx, run, request) {
            Ok(command) => {
                let replication = engine.bridge.replication.get();
                self.execute_as_script(ctx, run, (command, request), is_resp3, replication, &mut reply)
            }
            Err(refusal) => {
                self.count_rejected(run.id, request, &refusal);
                Err(refusal)
            }
        };
        match answer {
            Ok(Then::Wait { position, .. }) => {
                reply.clear();
                Reply::new(&mut reply, is_resp3).count(self.replicas_at(run.id, position));
            }
            Ok(Then::Sleep { .. }) => Reply::new(&mut reply, is_resp3).ok(),
            // Nothing in a script waits.
            Ok(Then::Block(_)) if reply.is_empty() => Reply::new(&mut reply, is_resp3).null(),
            Ok(_) => {}
            Err(refusal) => {
                reply.clear();
                Reply::new(&mut reply, is_resp3).error(&refusal.line());
            }
        }
    }

    /// Executes a command with what the script has set: its database, its version of RESP, where effects go.
    fn execute_as_script(
        &mut self,
        ctx: &Context<'_>,
        run: &mut ScriptRun,
        (command, request): (&'static Command, Request<'_>),
        is_resp3: bool,
        replication: u8,
        reply: &mut Vec<u8>,
    ) -> Result<Then, Refusal> {
        let (before, length) = (self.executed_by(run.id), self.log_length(run.id));
        let mark = self.stream_mark(run.id);
        let client = &mut self.clients.list[run.place];
        let own = (client.is_resp3, client.database);
        (client.is_resp3, client.database) = (is_resp3, run.database);
        client.in_script = true;
        let answer = self.execute(ctx, run.place, command, request, reply, false);
        let client = &mut self.clients.list[run.place];
        run.database = client.database;
        (client.is_resp3, client.database) = own;
        client.in_script = false;
        run.writes += usize::from(self.executed_by(run.id) != before);
        if replication & TO_FILE == 0
            && let Some(log) = self.log_of(run.id)
        {
            log.truncate(length);
        }
        if replication & TO_REPLICAS == 0 {
            self.rewind_stream(run.id, mark);
        }
        answer
    }

    /// Redis's checks of a command that a script calls, in Redis's order.
    fn admit_for_script(
        &mut self,
        ctx: &Context<'_>,
        run: &mut ScriptRun,
        request: Request<'_>,
    ) -> Result<&'static Command, Refusal> {
        let unknown = || Refusal::text("ERR Unknown Redis command called from script");
        let command = super::admit::find(request).map_err(|_| unknown())?;
        if !command.accepts(request.len()) {
            return Err(Refusal::text("ERR Wrong number of args calling Redis command from script"));
        }
        if command.flags.has(Flags::NOSCRIPT) && !self.switches.scripts_call_all {
            return Err(Refusal::text("ERR This Redis command is not allowed from script"));
        }
        let link = &self.instances[run.id].link;
        let is_cut_off = self.instances[run.id].upstream.as_ref().is_some_and(|upstream| !upstream.is_up());
        let is_stale = (is_cut_off || link.master.is_some() && !link.is_up) && !self.config.settings.serves_stale;
        if is_stale && !command.flags.has(Flags::STALE) {
            return Err(Refusal::text("ERR Can not execute the command on a stale replica"));
        }
        if !self.clients.list[run.place].is_unrestricted
            && let Err(denied) = self.check_permission(ctx, run.place, (command, request), Occasion::Script)
        {
            let text = self.denial_text(run.place, command, denied);
            return Err(Refusal::text(format!("ERR ACL failure in script: {text}")));
        }
        let is_write = command.flags.has(Flags::WRITE);
        // What may be passed on to replicas counts as a write, so that scripts that only read can run during CLIENT PAUSE.
        if command.flags.has(Flags::WRITE.or(Flags::MAY_REPLICATE)) && run.is_read_only {
            return Err(Refusal::text("ERR Write commands are not allowed from read-only scripts."));
        }
        let may_take_memory = !run.flags.is_plain && run.flags.allow_oom;
        if run.is_short_of_memory && command.flags.has(Flags::DENYOOM) && !may_take_memory && !run.has_written {
            return Err(Refusal::text(super::OUT_OF_MEMORY));
        }
        // What has begun to write is not stopped in the middle.
        if is_write && !run.has_written {
            self.check_replication(ctx, run.id)?;
            self.check_disk(ctx, run.id)?;
        }
        if self.config.settings.is_cluster && !command.keys.is_empty() {
            self.check_script_keys(run, command, request)?;
        }
        run.has_written |= is_write;
        Ok(command)
    }

    /// Keys of a script are this instance's, and in one slot unless it said otherwise.
    fn check_script_keys(
        &self,
        run: &mut ScriptRun,
        command: &'static Command,
        request: Request<'_>,
    ) -> Result<(), Refusal> {
        let client = &self.clients.list[run.place];
        let view = &self.instances[run.id].view;
        // What a READONLY client may read of a replica is up to each command.
        let refused = |text: &'static str| Err(Refusal::text(text));
        match decide(view, run.id, &self.config.settings, command, request, client.reads_replica) {
            Route::Here => {}
            Route::DownReadOnly => {
                return refused(
                    "ERR Script attempted to execute a write command while the cluster is down and readonly",
                );
            }
            Route::Down | Route::Unserved => {
                return refused("ERR Script attempted to execute a command while the cluster is down");
            }
            Route::CrossSlot => {
                return refused("ERR Script attempted to access keys that do not hash to the same slot");
            }
            _ => return refused("ERR Script attempted to access a non local key in a cluster node"),
        }
        // A first line without `allow-cross-slot-keys` holds for all keys together; a plain script never promised.
        if run.flags.is_plain || run.flags.allow_cross_slot_keys {
            return Ok(());
        }
        for position in command.key_positions(request) {
            let slot = crate::cluster::slots::slot_of(request.arg(position));
            if run.slot.replace(slot).is_some_and(|earlier| earlier != slot) {
                return refused("ERR Script attempted to access keys that do not hash to the same slot");
            }
        }
        Ok(())
    }

    fn log_of(&mut self, id: InstanceId) -> Option<&mut Vec<u8>> {
        self.datasets.get_mut(self.instances[id].dataset?)?.log.as_mut()
    }

    fn log_length(&self, id: InstanceId) -> usize {
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset));
        dataset.and_then(|dataset| dataset.log.as_ref()).map_or(0, Vec::len)
    }

    /// How many bytes of commands an instance's data has seen.
    fn executed_by(&self, id: InstanceId) -> u64 {
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset));
        dataset.map_or(0, |dataset| if dataset.owner == id { dataset.executed() } else { dataset.position(id) })
    }

    /// What a script that goes on later has written so far is kept back: a record holds all of it or nothing.
    fn hold_log(&mut self, run: &mut ScriptRun) {
        let start = run.log_start;
        if let Some(log) = self.log_of(run.id) {
            run.held.extend(log.drain(start.min(log.len())..));
        }
    }

    /// A script has ended. Several commands of one script are a transaction to replicas and to the append-only file.
    fn settle_log(&mut self, run: &mut ScriptRun) {
        // A single command stands in the log as it should.
        if run.writes == 0 || run.writes == 1 && run.held.is_empty() {
            return;
        }
        self.hold_log(run);
        let is_transaction = run.writes > 1;
        let held = std::mem::take(&mut run.held);
        let mut wrapped = Vec::with_capacity(held.len() + 32);
        if is_transaction {
            encode(&mut wrapped, [b"MULTI".as_slice()].into_iter());
        }
        wrapped.extend_from_slice(&held);
        if is_transaction {
            encode(&mut wrapped, [b"EXEC".as_slice()].into_iter());
        }
        if let Some(log) = self.log_of(run.id).filter(|_| !held.is_empty()) {
            log.extend_from_slice(&wrapped);
        }
        let dataset = self.instances[run.id].dataset.and_then(|dataset| self.datasets.get_mut(dataset));
        if let Some(dataset) = dataset.filter(|dataset| is_transaction && dataset.owner == run.id) {
            dataset.count((wrapped.len() - held.len()) as u64);
            self.clients.list[run.place].write_position = dataset.position(run.id);
        }
    }

    /// `redis.acl_check_cmd`.
    fn may_execute(&self, engine: &Engine, place: usize) -> Signal {
        let request = engine.bridge.request.borrow();
        let mut reply = engine.bridge.reply.borrow_mut();
        reply.clear();
        match super::admit::find(request.as_request()) {
            Ok(command) if self.clients.list[place].user.check(command, request.as_request()).is_err() => {
                Signal::Refused
            }
            Ok(_) => Signal::Go,
            Err(_) => {
                reply.extend_from_slice(b"Invalid command passed to redis.acl_check_cmd()");
                Signal::Go
            }
        }
    }
}
