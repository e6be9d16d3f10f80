//! Label selectors (as text and as `LabelSelector` objects) and field selectors.

use serde_json::{Map, Value};

use crate::error::Status;
use crate::object::{items, map, text};

/// One requirement on labels.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// Requirements on labels, all of which must hold. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Reads the text form: `app=web,tier in (a,b),!canary,rank>3`.
    ///
    /// # Errors
    /// 400 with the parser's complaint.
    pub fn parse(selector: &str) -> Result<LabelSelector, Status> {
        let mut requirements = Vec::new();
        let mut rest = selector.trim();
        while !rest.is_empty() {
            let (clause, after) = split_clause(rest);
            requirements.push(parse_clause(clause.trim()).ok_or_else(|| {
                Status::bad_request(format!(
                    "unable to parse requirement: found '{clause}', in selector \"{selector}\""
                ))
            })?);
            rest = after.trim();
        }
        Ok(LabelSelector { requirements, nothing: false })
    }

    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`). Null selects nothing, `{}` everything.
    pub fn from_object(selector: &Value) -> LabelSelector {
        if selector.is_null() {
            return LabelSelector { requirements: Vec::new(), nothing: true };
        }
        let mut requirements = Self::from_map(map(selector, "/matchLabels")).requirements;
        for expression in items(selector, "/matchExpressions") {
            let key = text(expression, "/key").to_owned();
            let values = || items(expression, "/values").iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let number = || text(expression, "/values/0").parse().unwrap_or(0);
            requirements.push(match text(expression, "/operator") {
                "In" => Requirement::In(key, values()),
                "NotIn" => Requirement::NotIn(key, values()),
                "Exists" => Requirement::Exists(key),
                "Gt" => Requirement::Greater(key, number()),
                "Lt" => Requirement::Less(key, number()),
                _ => Requirement::Absent(key),
            });
        }
        LabelSelector { requirements, nothing: false }
    }

    /// Equality with every pair of a map, as `Service.spec.selector`.
    pub fn from_map(labels: Option<&Map<String, Value>>) -> LabelSelector {
        let requirements = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement::In(key.clone(), vec![value.as_str().unwrap_or("").to_owned()]))
            .collect();
        LabelSelector { requirements, nothing: false }
    }

    /// Whether every object matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether the labels satisfy every requirement.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        let get = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        let number = |key: &str| get(key).and_then(|value| value.parse::<i64>().ok());
        !self.nothing
            && self.requirements.iter().all(|requirement| match requirement {
                Requirement::In(key, values) => {
                    get(key).is_some_and(|value| values.iter().any(|wanted| wanted == value))
                }
                Requirement::NotIn(key, values) => {
                    get(key).is_none_or(|value| values.iter().all(|unwanted| unwanted != value))
                }
                Requirement::Exists(key) => get(key).is_some(),
                Requirement::Absent(key) => get(key).is_none(),
                Requirement::Greater(key, bound) => number(key).is_some_and(|value| value > *bound),
                Requirement::Less(key, bound) => number(key).is_some_and(|value| value < *bound),
            })
    }

    /// The text form, as `Scale.status.selector` and describe-like outputs carry it.
    pub fn to_text(&self) -> String {
        let clauses: Vec<String> = self
            .requirements
            .iter()
            .map(|requirement| match requirement {
                Requirement::In(key, values) if values.len() == 1 => format!("{key}={}", values.concat()),
                Requirement::In(key, values) => format!("{key} in ({})", values.join(",")),
                Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
                Requirement::Exists(key) => key.clone(),
                Requirement::Absent(key) => format!("!{key}"),
                Requirement::Greater(key, bound) => format!("{key}>{bound}"),
                Requirement::Less(key, bound) => format!("{key}<{bound}"),
            })
            .collect();
        if clauses.is_empty() { "<none>".to_owned() } else { clauses.join(",") }
    }
}

/// Splits at the first comma outside parentheses.
fn split_clause(selector: &str) -> (&str, &str) {
    let mut depth = 0usize;
    for (at, byte) in selector.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return (&selector[..at], &selector[at + 1..]),
            _ => {}
        }
    }
    (selector, "")
}

fn parse_clause(clause: &str) -> Option<Requirement> {
    if let Some(key) = clause.strip_prefix('!') {
        return label_key(key.trim()).map(Requirement::Absent);
    }
    for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = clause.split_once(operator) {
            let (key, values) = (label_key(key.trim())?, vec![label_value(value.trim())?]);
            return Some(if negated { Requirement::NotIn(key, values) } else { Requirement::In(key, values) });
        }
    }
    if let Some((key, bound)) = clause.split_once('>') {
        return Some(Requirement::Greater(label_key(key.trim())?, bound.trim().parse().ok()?));
    }
    if let Some((key, bound)) = clause.split_once('<') {
        return Some(Requirement::Less(label_key(key.trim())?, bound.trim().parse().ok()?));
    }
    let Some((head, list)) = clause.split_once('(') else { return label_key(clause).map(Requirement::Exists) };
    let values: Option<Vec<String>> =
        list.strip_suffix(')')?.split(',').map(|value| label_value(value.trim())).collect();
    let mut words = head.split_whitespace();
    let key = label_key(words.next()?)?;
    match (words.next()?, words.next()) {
        ("in", None) => Some(Requirement::In(key, values?)),
        ("notin", None) => Some(Requirement::NotIn(key, values?)),
        _ => None,
    }
}

fn label_key(key: &str) -> Option<String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    (!key.is_empty() && key.len() <= 317 && key.bytes().all(fine)).then(|| key.to_owned())
}

fn label_value(value: &str) -> Option<String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (value.len() <= 63 && value.bytes().all(fine)).then(|| value.to_owned())
}

/// Equalities and inequalities of fields, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Reads `metadata.name=a,status.phase!=Running`. `supported` lists the kind's selectable fields.
    ///
    /// # Errors
    /// 400 for a field that this kind cannot be selected by, or a malformed term.
    pub fn parse(selector: &str, supported: &[&str]) -> Result<FieldSelector, Status> {
        let mut terms = Vec::new();
        for term in selector.split(',').map(str::trim).filter(|term| !term.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = term.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (field, true, value)
            } else {
                return Err(Status::bad_request(format!("invalid selector: '{selector}'; can't understand '{term}'")));
            };
            let common = ["metadata.name", "metadata.namespace"];
            if !supported.contains(&field) && !common.contains(&field) {
                return Err(Status::bad_request(format!("field label not supported: {field}")));
            }
            terms.push((format!("/{}", field.replace('.', "/")), equal, value.to_owned()));
        }
        Ok(FieldSelector { terms })
    }

    /// Whether the object satisfies every term. An absent field counts as empty (and as `false`, and as `0`).
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|(field, equal, wanted)| {
            let is = match object.pointer(field) {
                Some(Value::String(text)) => text == wanted,
                Some(Value::Bool(value)) => value.to_string() == *wanted,
                Some(Value::Number(value)) => value.to_string() == *wanted,
                _ => wanted.is_empty() || wanted == "false" || wanted == "0",
            };
            is == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(selector: &str, labels: &Value) -> bool {
        LabelSelector::parse(selector).expect("a valid selector").matches(labels.as_object())
    }

    #[test]
    fn label_selectors_read_and_match() {
        let labels = json!({"app": "web", "tier": "front", "rank": "7"});
        for yes in [
            "",
            "app=web",
            "app==web,tier!=back",
            "app in (web,api)",
            "app notin (api)",
            "app",
            "!gone",
            "rank>3",
            "gone!=x",
        ] {
            assert!(matches(yes, &labels), "{yes}");
        }
        for no in ["app=api", "app!=web", "tier in (a,b)", "gone", "!app", "rank<7"] {
            assert!(!matches(no, &labels), "{no}");
        }
        for bad in ["app=(", "a b", "app in web", "=x,", "app=we b"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_null_selector_selects_nothing_and_an_empty_one_everything() {
        assert!(!LabelSelector::from_object(&Value::Null).matches(None));
        assert!(LabelSelector::from_object(&json!({})).matches(None));
    }

    #[test]
    fn field_selectors_know_their_kind() {
        let pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}});
        let parse = |text: &str| FieldSelector::parse(text, &["status.phase", "spec.unschedulable"]);
        assert!(parse("metadata.name=a,status.phase!=Failed,spec.unschedulable=false").expect("valid").matches(&pod));
        assert!(!parse("status.phase=Failed").expect("valid").matches(&pod));
        assert_eq!(parse("spec.color=red").expect_err("unsupported").message, "field label not supported: spec.color");
    }
}
