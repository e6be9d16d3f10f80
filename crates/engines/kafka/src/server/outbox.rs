//! What a connection still has to send, and whose promises leave with it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

use super::Shared;
use crate::cluster::Ticket;

/// As many pieces are given to the operating system at once.
const PIECES_MAX: usize = 64;

/// Answers on their way. However its connection ends, the core learns which of those that promise something did not arrive.
pub(super) struct Outbox<'s> {
    shared: &'s Shared,
    pieces: VecDeque<Piece>,
    /// The request that is being handled.
    asked: Option<Ticket>,
    /// Answers that were taken whole and may not have left yet.
    taken: Vec<Ticket>,
}

/// Bytes of an answer.
struct Piece {
    bytes: Bytes,
    /// The request whose answer ends here, if it promises something.
    answered: Option<Ticket>,
}

impl<'s> Outbox<'s> {
    pub(super) fn new(shared: &'s Shared) -> Outbox<'s> {
        Outbox { shared, pieces: VecDeque::new(), asked: None, taken: Vec::new() }
    }

    /// A request is about to be handled: whatever is put in next answers it.
    pub(super) fn asked(&mut self, ticket: Ticket) {
        self.asked = Some(ticket);
    }

    /// Puts an answer behind the others.
    pub(super) fn put(&mut self, answer: impl IntoIterator<Item = Bytes>) {
        self.pieces.extend(answer.into_iter().map(|bytes| Piece { bytes, answered: None }));
        let asked = self.asked.take();
        let promising = asked.filter(|ticket| self.shared.live.tell(|cluster| cluster.has_promised(*ticket)));
        if let Some(last) = self.pieces.back_mut() {
            last.answered = promising;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many bytes there are.
    pub(super) fn size(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// What is to be sent first, as much of it as one call takes.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.pieces.iter().take(PIECES_MAX).map(|piece| IoSlice::new(&piece.bytes)).collect()
    }

    /// So many bytes were taken.
    pub(super) fn took(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.bytes.len() {
                piece.bytes.advance(count);
                break;
            }
            count -= piece.bytes.len();
            self.taken.extend(piece.answered);
            self.pieces.pop_front();
        }
    }

    /// Whether answers that promise something were taken and have not been said to have left.
    pub(super) fn has_taken_promises(&self) -> bool {
        !self.taken.is_empty()
    }

    /// What was taken has left.
    pub(super) fn left(&mut self) {
        let Outbox { shared, taken, .. } = self;
        let kernel = &shared.host.kernel;
        shared.live.tell(|cluster| taken.drain(..).for_each(|ticket| cluster.delivered(kernel, ticket)));
    }
}

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        let behind = self.pieces.iter().filter_map(|piece| piece.answered);
        let tickets = self.taken.iter().copied().chain(behind).chain(self.asked);
        self.shared.live.tell(|cluster| tickets.for_each(|ticket| cluster.undelivered(ticket)));
    }
}
