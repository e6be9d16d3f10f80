//! Reads the tree into a [`StackFile`]. Each function below knows one kind of entry; [`Reader`] has what they share.

use std::collections::BTreeMap;

use super::tree::{Key, Node, ScalarKind, Value};
use super::{
    API_VERSION, Engine, EngineEntry, ImageEntry, NODES_MAX, NodeEntry, OptionEntry, Place, Problem, StackFile,
};
use crate::text::{is_dns_label, nearest};

pub(super) fn read(root: &Node) -> Result<StackFile, Vec<Problem>> {
    let mut reader = Reader::default();
    let stack = reader.stack(root);
    if reader.problems.is_empty() {
        return Ok(stack);
    }
    reader.problems.sort_by_key(|problem| problem.place);
    reader.problems.truncate(Problem::MANY);
    Err(reader.problems)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

const STACK_KEYS: &[&str] =
    &["apiVersion", "kind", "metadata", "nodes", "seed", "ephemeral", "engines", "images", "manifests"];
const METADATA_KEYS: &[&str] = &["name"];
const NODE_KEYS: &[&str] = &["region", "zone"];
const ENGINE_KEYS: &[&str] = &["config", "external", "enabled"];
const IMAGE_KEYS: &[&str] = &["command", "workdir", "env"];

impl Reader {
    fn stack(&mut self, root: &Node) -> StackFile {
        let mut stack = StackFile::default();
        let mut has_version = false;
        let mut has_kind = false;
        for (key, node) in self.entries(root, "a stack file", STACK_KEYS) {
            match key.name.as_str() {
                "apiVersion" => {
                    has_version = true;
                    self.fixed(node, "apiVersion", API_VERSION);
                }
                "kind" => {
                    has_kind = true;
                    self.fixed(node, "kind", "Stack");
                }
                "metadata" => stack.name = self.metadata(node),
                "nodes" => stack.nodes = self.nodes(node),
                "seed" => stack.seed = self.integer(node, "seed", 0, u64::MAX),
                "ephemeral" => stack.ephemeral = self.boolean(node, "ephemeral").unwrap_or(false),
                "engines" => self.engines(node, &mut stack.engines),
                "images" => stack.images = self.images(node),
                _ => stack.manifests = self.texts(node, "manifests"),
            }
        }
        if matches!(root.value, Value::Mapping(_) | Value::Null) {
            for (is_there, line) in
                [(has_version, format!("apiVersion: {API_VERSION}")), (has_kind, "kind: Stack".into())]
            {
                if !is_there {
                    let key = line.split(':').next().unwrap_or_default();
                    self.problem(Place::START, format!("`{key}` is missing"), Some(format!("add the line `{line}`")));
                }
            }
        }
        stack
    }

    fn metadata(&mut self, node: &Node) -> Option<String> {
        let mut name = None;
        for (_, node) in self.entries(node, "metadata", METADATA_KEYS) {
            name = self.text(node, "metadata.name");
            if let Some(name) = &name
                && !is_dns_label(name)
            {
                let hint =
                    "use lower-case letters, digits and `-`, at most 63, beginning and ending with a letter or digit";
                self.problem(node.place, format!("`{name}` cannot name a stack"), Some(hint.to_owned()));
            }
        }
        name
    }

    fn nodes(&mut self, node: &Node) -> Vec<NodeEntry> {
        if let Value::List(items) = &node.value {
            if items.is_empty() || items.len() > NODES_MAX {
                let message = format!("{} nodes: a stack has 1 to {NODES_MAX}", items.len());
                self.problem(node.place, message, None);
            }
            return items.iter().take(NODES_MAX).map(|item| self.node(item)).collect();
        }
        let count = self.integer(node, "nodes", 1, NODES_MAX as u64).unwrap_or(1);
        vec![NodeEntry::default(); usize::try_from(count).unwrap_or(1)]
    }

    fn node(&mut self, node: &Node) -> NodeEntry {
        let mut entry = NodeEntry::default();
        for (key, node) in self.entries(node, "a node", NODE_KEYS) {
            let value = self.text(node, &key.name);
            if value.as_deref().is_some_and(|value| !is_dns_label(value)) {
                let hint = "use lower-case letters, digits and `-`, as in `eu-west-1`";
                self.problem(node.place, format!("not a name of a {}", key.name), Some(hint.to_owned()));
            }
            match key.name.as_str() {
                "region" => entry.region = value,
                _ => entry.zone = value,
            }
        }
        entry
    }

    fn engines(&mut self, node: &Node, engines: &mut BTreeMap<Engine, EngineEntry>) {
        let names: Vec<&str> = Engine::ALL.iter().map(|engine| engine.name()).collect();
        for (key, node) in self.entries(node, "engines", &names) {
            if let Some(engine) = Engine::ALL.iter().find(|engine| engine.name() == key.name) {
                let entry = self.engine(node, *engine);
                engines.insert(*engine, entry);
            }
        }
    }

    fn engine(&mut self, node: &Node, engine: Engine) -> EngineEntry {
        let (mut config, mut external, mut enabled) = (Vec::new(), None, true);
        let mut external_place = node.place;
        // `redis:` with nothing behind it is the engine with its defaults.
        if matches!(node.value, Value::Null) {
            return EngineEntry::embedded();
        }
        for (key, node) in self.entries(node, "an engine", ENGINE_KEYS) {
            match key.name.as_str() {
                "config" => config = self.options(node),
                "external" => {
                    external_place = key.place;
                    external = self.external(node, engine);
                }
                _ => enabled = self.boolean(node, "enabled").unwrap_or(true),
            }
        }
        if external.is_some() && !config.is_empty() {
            let hint = "an external engine is configured where it runs: remove `config` or `external`";
            self.problem(external_place, "an engine is either configured here or external".into(), Some(hint.into()));
        }
        match (enabled, external) {
            (false, _) => EngineEntry::Disabled,
            (true, Some(address)) => EngineEntry::External { address },
            (true, None) => EngineEntry::Embedded { config },
        }
    }

    fn options(&mut self, node: &Node) -> Vec<OptionEntry> {
        let mut options = Vec::new();
        for (key, node) in self.any_entries(node, "config") {
            let value = match &node.value {
                Value::Scalar(scalar) => scalar.text.clone(),
                other => {
                    let message = format!("`{}` is {}, not a single value", key.name, other.kind());
                    self.problem(
                        node.place,
                        message,
                        Some("write the value as in the real system's configuration".into()),
                    );
                    continue;
                }
            };
            let name = key.name.clone();
            options.push(OptionEntry { name, value, name_place: key.place, value_place: node.place });
        }
        options
    }

    fn external(&mut self, node: &Node, engine: Engine) -> Option<String> {
        let address = self.text(node, "external")?;
        let is_right = match engine {
            Engine::Kubernetes => !address.trim().is_empty(),
            Engine::Redis | Engine::Kafka => address.split(',').all(is_host_and_port),
        };
        if is_right {
            return Some(address);
        }
        let hint = match engine {
            Engine::Kubernetes => "give the path of a kubeconfig file",
            Engine::Redis | Engine::Kafka => "write `host:port`, or several with commas between them",
        };
        self.problem(node.place, format!("`{address}` is not an address"), Some(hint.into()));
        None
    }

    fn images(&mut self, node: &Node) -> BTreeMap<String, ImageEntry> {
        let mut images = BTreeMap::new();
        for (key, node) in self.any_entries(node, "images") {
            if let Some(image) = self.image(key, node) {
                images.insert(key.name.clone(), image);
            }
        }
        images
    }

    fn image(&mut self, key: &Key, node: &Node) -> Option<ImageEntry> {
        let mut image = ImageEntry { command: Vec::new(), workdir: None, env: BTreeMap::new() };
        let before = self.problems.len();
        for (key, node) in self.entries(node, "an image", IMAGE_KEYS) {
            match key.name.as_str() {
                "command" => image.command = self.texts(node, "command"),
                "workdir" => image.workdir = self.text(node, "workdir"),
                _ => {
                    for (key, node) in self.any_entries(node, "env") {
                        let value = self.scalar_text(node, &key.name);
                        image.env.extend(value.map(|value| (key.name.clone(), value)));
                    }
                }
            }
        }
        if self.problems.len() > before {
            return None;
        }
        if image.command.first().is_none_or(|program| program.is_empty()) {
            let hint = "add `command: [program, argument, …]`";
            self.problem(key.place, format!("image `{}` has no command", key.name), Some(hint.into()));
            return None;
        }
        Some(image)
    }
}

/// What the functions above share.
impl Reader {
    fn problem(&mut self, place: Place, message: String, hint: Option<String>) {
        if !self.is_full() {
            self.problems.push(Problem { message, hint, place });
        }
    }

    /// The list is cut to MANY after sorting; this bound keeps a hostile file from filling memory.
    fn is_full(&self) -> bool {
        self.problems.len() >= 10 * Problem::MANY
    }

    fn wrong_type(&mut self, node: &Node, name: &str, wanted: &str) {
        self.problem(node.place, format!("`{name}` is {}, not {wanted}", node.value.kind()), None);
    }

    /// The entries of a mapping whose keys are known; unknown ones become problems.
    fn entries<'n>(&mut self, node: &'n Node, name: &str, known: &[&str]) -> Vec<&'n (Key, Node)> {
        let mut entries = Vec::new();
        for entry in self.any_entries(node, name) {
            let key = &entry.0;
            if known.contains(&key.name.as_str()) {
                entries.push(entry);
                continue;
            }
            // Looking for the nearest name costs, and a file with so many mistakes gains nothing from one more.
            if self.is_full() {
                break;
            }
            let hint = match nearest(&key.name, known.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.problem(key.place, format!("unknown key `{}` in {name}", key.name), Some(hint));
        }
        entries
    }

    /// The entries of a mapping whose keys are names of the user's.
    fn any_entries<'n>(&mut self, node: &'n Node, name: &str) -> &'n [(Key, Node)] {
        match &node.value {
            Value::Mapping(entries) => entries,
            Value::Null => &[],
            other => {
                self.problem(node.place, format!("{name} is {}, not a mapping", other.kind()), None);
                &[]
            }
        }
    }

    fn fixed(&mut self, node: &Node, name: &str, wanted: &str) {
        if let Some(text) = self.text(node, name)
            && text != wanted
        {
            let hint = format!("this version of Atoll understands `{name}: {wanted}`");
            self.problem(node.place, format!("{name} `{text}` is not known"), Some(hint));
        }
    }

    fn text(&mut self, node: &Node, name: &str) -> Option<String> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind == ScalarKind::Text => Some(scalar.text.clone()),
            Value::Scalar(scalar) => {
                let hint = format!("put it in quotes: \"{}\"", scalar.text);
                self.problem(node.place, format!("`{name}` is {}, not text", node.value.kind()), Some(hint));
                None
            }
            _ => {
                self.wrong_type(node, name, "text");
                None
            }
        }
    }

    /// Any scalar as it was written, for values that are text to whoever reads them.
    fn scalar_text(&mut self, node: &Node, name: &str) -> Option<String> {
        match &node.value {
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            _ => {
                self.wrong_type(node, name, "a single value");
                None
            }
        }
    }

    fn texts(&mut self, node: &Node, name: &str) -> Vec<String> {
        match &node.value {
            Value::List(items) => items.iter().filter_map(|item| self.scalar_text(item, name)).collect(),
            Value::Null => Vec::new(),
            _ => {
                self.wrong_type(node, name, "a list");
                Vec::new()
            }
        }
    }

    fn boolean(&mut self, node: &Node, name: &str) -> Option<bool> {
        match &node.value {
            Value::Scalar(scalar) if matches!(scalar.kind, ScalarKind::Bool(_)) => {
                matches!(scalar.kind, ScalarKind::Bool(true)).into()
            }
            _ => {
                self.wrong_type(node, name, "true or false");
                None
            }
        }
    }

    fn integer(&mut self, node: &Node, name: &str, low: u64, high: u64) -> Option<u64> {
        let Value::Scalar(scalar) = &node.value else {
            self.wrong_type(node, name, "a whole number");
            return None;
        };
        let ScalarKind::Integer(value) = scalar.kind else {
            self.wrong_type(node, name, "a whole number");
            return None;
        };
        match u64::try_from(value) {
            Ok(value) if (low..=high).contains(&value) => Some(value),
            _ => {
                self.problem(node.place, format!("`{name}` is {value}; it can be {low} to {high}"), None);
                None
            }
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    address.trim().rsplit_once(':').is_some_and(|(host, port)| {
        let host_is_right = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_[]:".contains(c));
        host_is_right && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
