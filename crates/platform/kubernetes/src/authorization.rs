//! Who asks, and what they may: client certificates and bearer tokens, then role-based access control.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::{Reason, Status};
use crate::object::{items, namespace, text};
use crate::resources::ResourceId;
use crate::state::Store;

/// An authenticated (or anonymous) user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name, as `kubernetes-admin` or `system:serviceaccount:default:default`.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    /// The user of a client certificate: common name and organizations.
    pub fn certified(name: &str, organizations: Vec<String>) -> User {
        let mut groups = organizations;
        groups.push("system:authenticated".to_owned());
        User { name: name.to_owned(), groups }
    }

    /// Nobody in particular.
    pub fn anonymous() -> User {
        User { name: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()] }
    }

    /// A program inside the process, which may do everything.
    pub fn master() -> User {
        User::certified("kubernetes-admin", vec!["system:masters".to_owned()])
    }

    fn service_account(space: &str, account: &str) -> User {
        User {
            name: format!("system:serviceaccount:{space}:{account}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{space}"),
                "system:authenticated".to_owned(),
            ],
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// Verb.
    pub verb: String,
    /// API group.
    pub group: String,
    /// Resource, with its subresource after a slash.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The path, when no resource is asked for.
    pub path: String,
}

impl Cluster {
    /// The user of a bearer token.
    ///
    /// # Errors
    /// 401 for a token that is not this server's, has expired, or whose account is gone.
    pub fn authenticate_token(&self, token: &str) -> Result<User, Status> {
        let now = self.wall().as_secs();
        let claims =
            crate::token::verify(&self.settings.service_account_key, token, now).ok_or_else(Status::unauthorized)?;
        let account = self.store.get(ResourceId::ServiceAccounts, &claims.namespace, &claims.account);
        let pod_lives = claims.pod.as_ref().is_none_or(|(name, uid)| {
            self.store.get(ResourceId::Pods, &claims.namespace, name).is_some_and(|pod| crate::object::uid(pod) == uid)
        });
        if account.is_none() || !pod_lives {
            return Err(Status::unauthorized());
        }
        Ok(User::service_account(&claims.namespace, &claims.account))
    }
}

/// Refuses what the user may not do.
///
/// # Errors
/// 403 in the real server's words.
pub fn authorize(store: &Store, user: &User, asked: &Attributes) -> Result<(), Status> {
    if is_allowed(store, user, asked) {
        return Ok(());
    }
    let who = format!("User \"{}\" cannot", user.name);
    if asked.resource.is_empty() {
        let message = format!("forbidden: {who} {} path \"{}\"", asked.verb, asked.path);
        return Err(Status { reason: Reason::Forbidden, message, details: json!({}) });
    }
    let place = if asked.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", asked.namespace)
    };
    let why = format!("{who} {} resource \"{}\" in API group \"{}\" {place}", asked.verb, asked.resource, asked.group);
    let resource = asked.resource.split('/').next().unwrap_or("");
    Err(Status::forbidden(&asked.group, resource, &asked.name, &why))
}

/// The user that a user asks to be taken for (`kubectl --as`, `--as-group`).
///
/// # Errors
/// 403 unless the user may impersonate that user and each of the groups.
pub fn impersonate(store: &Store, user: &User, wanted: &str, groups: Vec<String>) -> Result<User, Status> {
    let account = wanted.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let asked = |resource: &str, space: &str, name: &str| Attributes {
        verb: "impersonate".to_owned(),
        resource: resource.to_owned(),
        namespace: space.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    match account {
        Some((space, name)) => authorize(store, user, &asked("serviceaccounts", space, name))?,
        None => authorize(store, user, &asked("users", "", wanted))?,
    }
    for group in &groups {
        authorize(store, user, &asked("groups", "", group))?;
    }
    if let (Some((space, name)), true) = (account, groups.is_empty()) {
        return Ok(User::service_account(space, name));
    }
    Ok(User::certified(wanted, groups))
}

/// Whether role-based access control allows it.
pub fn is_allowed(store: &Store, user: &User, asked: &Attributes) -> bool {
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    rules_of(store, user, &asked.namespace).into_iter().any(|rule| covers(rule, asked))
}

/// Every rule that binds the user, cluster-wide or in a namespace.
pub fn rules_of<'a>(store: &'a Store, user: &User, space: &str) -> Vec<&'a Value> {
    let mut rules = Vec::new();
    for binding in store.list(ResourceId::ClusterRoleBindings, None) {
        if is_subject(binding, user) {
            rules.extend(rules_of_role(store, binding, ""));
        }
    }
    if !space.is_empty() {
        for binding in store.list(ResourceId::RoleBindings, Some(space)) {
            if is_subject(binding, user) {
                rules.extend(rules_of_role(store, binding, space));
            }
        }
    }
    rules
}

fn rules_of_role<'a>(store: &'a Store, binding: &Value, space: &str) -> &'a [Value] {
    let role = text(binding, "/roleRef/name");
    let role = match text(binding, "/roleRef/kind") {
        "Role" => store.get(ResourceId::Roles, space, role),
        _ => store.get(ResourceId::ClusterRoles, "", role),
    };
    role.map_or(&[], |role| items(role, "/rules"))
}

fn is_subject(binding: &Value, user: &User) -> bool {
    items(binding, "/subjects").iter().any(|subject| match text(subject, "/kind") {
        "User" => text(subject, "/name") == user.name,
        "Group" => user.groups.iter().any(|group| group == text(subject, "/name")),
        "ServiceAccount" => {
            let space = match text(subject, "/namespace") {
                "" => namespace(binding),
                space => space,
            };
            user.name == format!("system:serviceaccount:{space}:{}", text(subject, "/name"))
        }
        _ => false,
    })
}

fn covers(rule: &Value, asked: &Attributes) -> bool {
    let has = |part: &str, wanted: &str| items(rule, part).iter().any(|word| word == "*" || word == wanted);
    if !has("/verbs", &asked.verb) {
        return false;
    }
    if asked.resource.is_empty() {
        return items(rule, "/nonResourceURLs").iter().filter_map(Value::as_str).any(|pattern| {
            match pattern.strip_suffix('*') {
                Some(prefix) => asked.path.starts_with(prefix),
                None => pattern == asked.path,
            }
        });
    }
    let subresource = asked.resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
    let names = items(rule, "/resourceNames");
    has("/apiGroups", &asked.group)
        && (has("/resources", &asked.resource) || subresource.is_some_and(|wild| has("/resources", &wild)))
        && (names.is_empty() || names.iter().any(|allowed| *allowed == asked.name.as_str()))
}
