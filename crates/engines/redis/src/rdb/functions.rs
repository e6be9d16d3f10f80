//! Libraries of functions in a payload of their own, as FUNCTION DUMP answers them: their sources as in a file, and the footer of
//! every payload.

use super::file::opcode;
use super::input::{Input, write_string};
use super::{Damage, REPLICA_VERSION, body, sign};

/// The payload of these sources. Nothing of it is newer than Redis 7.0, so it says so and is read there as well.
pub(crate) fn dump_functions<'c>(sources: impl IntoIterator<Item = &'c [u8]>, compresses: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    for source in sources {
        payload.push(opcode::FUNCTION);
        write_string(&mut payload, source, compresses);
    }
    sign(payload, REPLICA_VERSION)
}

/// The sources of a payload, one after the other up to the first that is none. [`Damage::VersionOrChecksum`] for a payload
/// that is not whole.
pub(crate) fn read_functions(payload: &[u8], is_checked: bool) -> Result<Functions<'_>, Damage> {
    Ok(Functions { input: Input::new(body(payload, is_checked)?) })
}

/// See [`read_functions`].
#[derive(Debug)]
pub(crate) struct Functions<'a> {
    input: Input<'a>,
}

impl Iterator for Functions<'_> {
    type Item = Result<Vec<u8>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.input.is_at_end() {
            return None;
        }
        let source = self.input.byte().and_then(|kind| match kind {
            opcode::FUNCTION => {
                let source = self.input.string().map(std::borrow::Cow::into_owned);
                source.map_err(|_| Damage::Malformed("Failed loading library payload"))
            }
            opcode::FUNCTION_OF_PREVIEW => Err(Damage::Malformed("Pre-GA function format not supported")),
            _ => Err(Damage::Malformed("given type is not a function")),
        });
        if source.is_err() {
            self.input = Input::new(&[]);
        }
        Some(source)
    }
}

/// Reads a payload of FUNCTION DUMP, whatever its checksum, and writes it again.
pub fn rewrite_functions(payload: &[u8]) -> Result<Vec<u8>, Damage> {
    let sources: Vec<Vec<u8>> = read_functions(payload, false)?.collect::<Result<_, _>>()?;
    Ok(dump_functions(sources.iter().map(Vec::as_slice), true))
}
