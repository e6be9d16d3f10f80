//! Which arguments of a request are nobody's business: passwords.

use crate::ops::{Command, is};
use crate::wire::Request;

/// Options whose values are secret.
const SECRET_OPTIONS: [&str; 5] =
    ["requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"];

/// The positions of arguments that logs and monitors show as `(redacted)`.
pub(crate) fn redacted(command: &Command, request: Request<'_>) -> Vec<usize> {
    let length = request.len();
    match command.name {
        "auth" => (1..length.min(3)).collect(),
        "acl|setuser" => (2..length).collect(),
        "hello" => match (2..length).find(|index| is(request.arg(*index), "AUTH")) {
            Some(word) => (word + 1..length.min(word + 3)).collect(),
            None => Vec::new(),
        },
        "migrate" => {
            let word = (6..length).find(|index| is(request.arg(*index), "AUTH") || is(request.arg(*index), "AUTH2"));
            let secrets = |word: usize| if is(request.arg(word), "AUTH2") { 2 } else { 1 };
            word.map_or_else(Vec::new, |word| (word + 1..length.min(word + 1 + secrets(word))).collect())
        }
        "config|set" => {
            let is_secret = |index: &usize| SECRET_OPTIONS.iter().any(|option| is(request.arg(index - 1), option));
            (3..length).step_by(2).filter(is_secret).collect()
        }
        _ => Vec::new(),
    }
}
