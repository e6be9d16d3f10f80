//! How a script reaches the core: it leaves its stack with a [`Wish`], and the core comes back with a [`Signal`].

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use corosensei::Yielder;

use crate::wire::OwnedRequest;

/// What a script wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The command in [`Bridge::request`], its reply into [`Bridge::reply`].
    Execute,
    /// To know whether the client may run the command in [`Bridge::request`].
    MayExecute,
    /// Its share of instructions is used up.
    Pause,
}

/// What the core answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Go on; the reply is there.
    Go,
    /// No.
    Refused,
}

/// By what a script is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    Script,
    Function,
    /// It is a library that does not come to an end of being loaded.
    Loading,
    /// It has run for longer than anything may.
    Ceiling,
    /// Nobody will see its reply.
    Silent,
}

impl Kill {
    pub(super) fn message(self) -> &'static str {
        match self {
            Kill::Script => "Script killed by user with SCRIPT KILL.",
            Kill::Function => "Script killed by user with FUNCTION KILL.",
            Kill::Loading => "FUNCTION LOAD timeout",
            Kill::Ceiling | Kill::Silent => "Script killed: it has run for too long and nothing else could.",
        }
    }
}

/// Why and where a script failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure {
    pub(super) message: Vec<u8>,
    pub(super) place: Option<(String, usize)>,
}

type Exit = Yielder<Signal, Wish>;

/// What the functions of the sandbox and the engine share.
pub(crate) struct Bridge {
    exit: Cell<Option<NonNull<Exit>>>,
    pub(crate) request: RefCell<OwnedRequest>,
    pub(crate) reply: RefCell<Vec<u8>>,
    /// `redis.setresp(3)`.
    pub(crate) is_resp3: Cell<bool>,
    /// `redis.set_repl`: 1 the append-only file, 2 replicas.
    pub(crate) replication: Cell<u8>,
    pub(super) failure: RefCell<Option<Failure>>,
    pub(super) instructions: Cell<u64>,
    pub(crate) pause_at: Cell<u64>,
    pub(super) killed: Cell<Option<Kill>>,
    /// How many scripts have ended since the collector was made to begin.
    pub(super) ended: Cell<u32>,
    /// The state of `math.random`: from script to script the numbers go on.
    pub(super) random: Cell<u64>,
}

/// `set_repl`'s default: everywhere.
pub(crate) const REPLICATE_ALL: u8 = 3;

impl Default for Bridge {
    fn default() -> Bridge {
        Bridge {
            exit: Cell::default(),
            request: RefCell::default(),
            reply: RefCell::default(),
            is_resp3: Cell::default(),
            replication: Cell::new(REPLICATE_ALL),
            failure: RefCell::default(),
            instructions: Cell::default(),
            pause_at: Cell::default(),
            killed: Cell::default(),
            ended: Cell::default(),
            random: Cell::new(super::number::RANDOM_START),
        }
    }
}

impl Bridge {
    pub(super) fn begin(&self, pause_at: u64) {
        self.is_resp3.set(false);
        self.replication.set(REPLICATE_ALL);
        *self.failure.borrow_mut() = None;
        self.instructions.set(0);
        self.pause_at.set(pause_at);
        self.killed.set(None);
    }

    /// Runs `body` on the stack that `yielder` leads out of.
    pub(super) fn inside<R>(&self, yielder: &Exit, body: impl FnOnce() -> R) -> R {
        self.exit.set(Some(NonNull::from(yielder)));
        let result = body();
        self.exit.set(None);
        result
    }

    /// Leaves the script's stack until the core has an answer. Refused if no script is running: while a library is
    /// being loaded.
    pub(super) fn wish(&self, wish: Wish) -> Signal {
        let Some(exit) = self.exit.get() else { return Signal::Refused };
        // SAFETY: the pointer is set while `inside` runs and only then, and the yielder outlives that. Functions that
        // get here are called by Lua, which runs on the yielder's stack and nowhere else while it is set: the engine
        // does not touch Lua between a yield and the next resume.
        unsafe { exit.as_ref() }.suspend(wish)
    }

    /// True inside a script or function, false while a library is loaded.
    pub(super) fn is_inside(&self) -> bool {
        self.exit.get().is_some()
    }

    /// How many instructions the script has executed.
    pub(crate) fn instructions(&self) -> u64 {
        self.instructions.get()
    }

    /// Ends the script as soon as it goes on.
    pub(crate) fn kill(&self, kill: Kill) {
        self.killed.set(Some(kill));
    }
}
