//! The OpenAPI version 2 document in the protobuf form of gnostic (`openapi.v2.Document`, `openapiv2/OpenAPIv2.proto`).
//!
//! Only what this server's documents contain is written. Numbers in comments are the fields of that file.

use serde_json::Value;

use crate::object::{items, map, text};

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.number(field << 3 | 2);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// A name with a message, as maps are written: name = 1, value = 2.
    fn named(&mut self, field: u64, name: &str, write: impl FnOnce(&mut Message)) {
        self.message(field, |pair| {
            pair.text(1, name);
            pair.message(2, write);
        });
    }

    /// `Any` with its value as YAML = 2, of which JSON is a part.
    fn any(&mut self, field: u64, value: &Value) {
        self.message(field, |any| any.text(2, &value.to_string()));
    }

    fn extensions(&mut self, field: u64, owner: &Value) {
        for (name, value) in map(owner, "").into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
            self.message(field, |pair| {
                pair.text(1, name);
                pair.any(2, value);
            });
        }
    }
}

/// The whole document.
pub(super) fn document(source: &Value) -> Vec<u8> {
    let mut document = Message::default();
    document.text(1, text(source, "/swagger"));
    document.message(2, |info| {
        info.text(1, text(source, "/info/title"));
        info.text(2, text(source, "/info/version"));
    });
    document.message(8, |paths| {
        for (path, item) in map(source, "/paths").into_iter().flatten() {
            paths.named(2, path, |message| path_item(message, item));
        }
    });
    document.message(9, |definitions| {
        for (name, definition) in map(source, "/definitions").into_iter().flatten() {
            definitions.named(1, name, |message| schema(message, definition));
        }
    });
    document.0
}

fn path_item(item: &mut Message, source: &Value) {
    for (method, field) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        if let Some(operation) = source.get(method) {
            item.message(field, |message| write_operation(message, operation));
        }
    }
}

fn write_operation(operation: &mut Message, source: &Value) {
    operation.text(5, text(source, "/operationId"));
    for parameter in items(source, "/parameters") {
        // ParametersItem.parameter = 1, Parameter.non_body_parameter = 2, NonBodyParameter.query_parameter_sub_schema = 3
        operation.message(8, |item| {
            item.message(1, |message| {
                message.message(2, |message| {
                    message.message(3, |query| {
                        query.text(2, text(parameter, "/in"));
                        query.text(4, text(parameter, "/name"));
                        query.text(6, text(parameter, "/type"));
                    });
                });
            });
        });
    }
    operation.message(9, |responses| {
        for (code, response) in map(source, "/responses").into_iter().flatten() {
            // ResponseValue.response = 1
            responses
                .named(1, code, |value| value.message(1, |message| message.text(1, text(response, "/description"))));
        }
    });
    operation.extensions(13, source);
}

fn schema(message: &mut Message, source: &Value) {
    message.text(1, text(source, "/$ref"));
    message.text(2, text(source, "/format"));
    message.text(4, text(source, "/description"));
    if let Some(default) = source.get("default") {
        message.any(5, default);
    }
    for required in items(source, "/required").iter().filter_map(Value::as_str) {
        message.text(19, required);
    }
    if let Some(inner) = source.get("additionalProperties") {
        message.message(21, |item| item.message(1, |value| schema(value, inner)));
    }
    let kind = text(source, "/type");
    if !kind.is_empty() {
        message.message(22, |item| item.text(1, kind));
    }
    if let Some(inner) = source.get("items") {
        message.message(23, |item| item.message(1, |value| schema(value, inner)));
    }
    if let Some(properties) = map(source, "/properties") {
        message.message(25, |item| {
            for (name, property) in properties {
                item.named(1, name, |value| schema(value, property));
            }
        });
    }
    message.extensions(31, source);
}
