//! What the API server answers when it refuses: Kubernetes' `Status` object, built by the constructors of
//! `k8s.io/apimachinery/pkg/api/errors`, whose messages clients match on.

use serde_json::{Value, json};

/// Why a request was refused; the `reason` of a `Status`, which fixes its HTTP code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client's fault: the request cannot be understood.
    BadRequest,
    /// No or invalid credentials.
    Unauthorized,
    /// Known, but not allowed.
    Forbidden,
    /// No such object or path.
    NotFound,
    /// The path does not support this verb.
    MethodNotAllowed,
    /// None of the accepted media types can be produced.
    NotAcceptable,
    /// An object of that name exists.
    AlreadyExists,
    /// A concurrent change, or a conflict of field managers.
    Conflict,
    /// The resource version is too old for the history that is kept.
    Expired,
    /// The body is larger than the server reads.
    RequestEntityTooLarge,
    /// The body's media type is not understood.
    UnsupportedMediaType,
    /// Understood, but semantically wrong; `causes` name the fields.
    Invalid,
    /// Too many requests or watches at once.
    TooManyRequests,
    /// The server's fault.
    InternalError,
    /// This server does not implement what was asked.
    NotImplemented,
    /// The server cannot serve right now.
    ServiceUnavailable,
}

impl Reason {
    /// The HTTP status code of this reason.
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError => 500,
            Reason::NotImplemented => 501,
            Reason::ServiceUnavailable => 503,
        }
    }

    /// The word in the `reason` field.
    pub fn word(self) -> &'static str {
        match self {
            Reason::BadRequest => "BadRequest",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Expired => "Expired",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::Invalid => "Invalid",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::InternalError => "InternalError",
            Reason::NotImplemented => "NotImplemented",
            Reason::ServiceUnavailable => "ServiceUnavailable",
        }
    }
}

/// One wrong field, as in `field.Error`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, …
    pub reason: &'static str,
    /// The whole sentence but the field.
    pub message: String,
    /// The field's path, as `spec.containers[0].name`.
    pub field: String,
}

impl Cause {
    /// A required field is missing.
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Cause { reason: "FieldValueRequired", message, field: field.into() }
    }

    /// A field's value is not acceptable.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Cause {
        Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {}: {detail}", shown(value)),
            field: field.into(),
        }
    }

    /// A field's value is none of the supported ones.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Cause {
        let words: Vec<String> = supported.iter().map(|word| format!("\"{word}\"")).collect();
        Cause {
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {}: supported values: {}", shown(value), words.join(", ")),
            field: field.into(),
        }
    }

    /// The same value occurs twice where it must be unique.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Cause {
        Cause {
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {}", shown(value)),
            field: field.into(),
        }
    }

    /// The field may not be set or changed here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
        Cause { reason: "FieldValueForbidden", message: format!("Forbidden: {detail}"), field: field.into() }
    }

    /// The field refers to something that is not there.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Cause {
        Cause { reason: "FieldValueNotFound", message: format!("Not found: {}", shown(value)), field: field.into() }
    }
}

fn shown(value: &Value) -> String {
    value.to_string()
}

/// A refusal, ready to be written as a `Status` object.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Why, and with it the HTTP code.
    pub reason: Reason,
    /// The human sentence; clients do match on it.
    pub message: String,
    /// The `details` object, or null.
    pub details: Value,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    /// A refusal without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Status {
        Status { reason, message: message.into(), details: Value::Null }
    }

    /// 400 with a sentence.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(Reason::BadRequest, message)
    }

    /// 500 with a sentence.
    pub fn internal(message: impl std::fmt::Display) -> Status {
        Status::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// 404 for an object. `resource` is the plural name, `group` may be empty.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
        Status {
            reason: Reason::NotFound,
            message: format!("{} \"{name}\" not found", qualified(group, resource)),
            details: details(name, group, resource),
        }
    }

    /// 404 for a path that no resource has.
    pub fn unknown_path() -> Status {
        Status {
            reason: Reason::NotFound,
            message: "the server could not find the requested resource".to_owned(),
            details: json!({}),
        }
    }

    /// 409, an object of that name exists.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Status {
        Status {
            reason: Reason::AlreadyExists,
            message: format!("{} \"{name}\" already exists", qualified(group, resource)),
            details: details(name, group, resource),
        }
    }

    /// 409, with the reason why the operation cannot be fulfilled.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Status {
        Status {
            reason: Reason::Conflict,
            message: format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(group, resource)),
            details: details(name, group, resource),
        }
    }

    /// 409 because of optimistic concurrency.
    pub fn modified(group: &str, resource: &str, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(group, resource, name, why)
    }

    /// 403 for an authenticated user.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let subject = match (resource, name) {
            ("", _) => String::new(),
            (_, "") => format!("{} is ", qualified(group, resource)),
            _ => format!("{} \"{name}\" is ", qualified(group, resource)),
        };
        Status {
            reason: Reason::Forbidden,
            message: format!("{subject}forbidden: {why}"),
            details: details(name, group, resource),
        }
    }

    /// 422 with its causes. `kind` is the kind's name.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Status {
        let sentences: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let list = match sentences.as_slice() {
            [only] => only.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        let mut info = details(name, group, kind);
        info["causes"] = Value::Array(causes);
        Status {
            reason: Reason::Invalid,
            message: format!("{} \"{name}\" is invalid: {list}", qualified(group, kind)),
            details: info,
        }
    }

    /// 405 for a resource that does not support the verb.
    pub fn method_not_allowed() -> Status {
        Status {
            reason: Reason::MethodNotAllowed,
            message: "the server does not allow this method on the requested resource".to_owned(),
            details: json!({}),
        }
    }

    /// 410: the history no longer reaches back that far.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(Reason::Expired, message)
    }

    /// 401.
    pub fn unauthorized() -> Status {
        Status::new(Reason::Unauthorized, "Unauthorized")
    }

    /// The `Status` object that goes over the wire.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason.word(),
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status["code"] = json!(self.reason.code());
        status
    }
}

fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = serde_json::Map::new();
    for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
        if !text.is_empty() {
            details.insert(key.to_owned(), json!(text));
        }
    }
    Value::Object(details)
}
