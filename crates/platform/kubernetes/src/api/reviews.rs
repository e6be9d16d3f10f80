//! Reviews: questions about who one is and what one may do, answered but not stored.

use serde_json::{Value, json};

use super::body::decode;
use super::{Reply, Request, Target};
use crate::authorization::{Attributes, User, is_allowed, rules_of};
use crate::cluster::Cluster;
use crate::error::Status;
use crate::object::{items, text};
use crate::resources::ResourceId;

impl Cluster {
    pub(super) fn review(&mut self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let mut review = decode(request)?;
        if !review.is_object() {
            return Err(Status::bad_request("the object provided is unrecognized (must be of type object)"));
        }
        review["kind"] = json!(target.row.kind);
        review["apiVersion"] = json!(target.row.api_version());
        crate::object::set(&mut review, &["metadata", "creationTimestamp"], Value::Null);
        let status = match target.row.id {
            ResourceId::SelfSubjectAccessReviews => self.access(&review, &request.user),
            ResourceId::SubjectAccessReviews => {
                let groups =
                    items(&review, "/spec/groups").iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let user = User { name: text(&review, "/spec/user").to_owned(), groups };
                self.access(&review, &user)
            }
            ResourceId::SelfSubjectRulesReviews => self.rules(&review, &request.user),
            ResourceId::SelfSubjectReviews => {
                json!({"userInfo": {"username": request.user.name, "groups": request.user.groups}})
            }
            _ => self.token_review(&review),
        };
        review["status"] = status;
        Ok(Reply::Json { code: 201, body: review, warnings: Vec::new() })
    }

    fn access(&self, review: &Value, user: &User) -> Value {
        let part = |field: &str| text(review, &format!("/spec/resourceAttributes/{field}")).to_owned();
        let asked = if review.pointer("/spec/nonResourceAttributes").is_some() {
            Attributes {
                verb: text(review, "/spec/nonResourceAttributes/verb").to_owned(),
                path: text(review, "/spec/nonResourceAttributes/path").to_owned(),
                ..Attributes::default()
            }
        } else {
            let subresource = part("subresource");
            let resource =
                if subresource.is_empty() { part("resource") } else { format!("{}/{subresource}", part("resource")) };
            Attributes {
                verb: part("verb"),
                group: part("group"),
                resource,
                namespace: part("namespace"),
                name: part("name"),
                path: String::new(),
            }
        };
        json!({"allowed": is_allowed(&self.store, user, &asked)})
    }

    fn rules(&self, review: &Value, user: &User) -> Value {
        let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        if user.groups.iter().any(|group| group == "system:masters") {
            resources.push(all);
            paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
        } else {
            for rule in rules_of(&self.store, user, text(review, "/spec/namespace")) {
                if rule.get("nonResourceURLs").is_some() {
                    paths.push(rule.clone())
                } else {
                    resources.push(rule.clone())
                }
            }
        }
        json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
    }

    fn token_review(&self, review: &Value) -> Value {
        match self.authenticate_token(text(review, "/spec/token")) {
            Ok(user) => json!({"authenticated": true, "user": {"username": user.name, "groups": user.groups}}),
            Err(status) => json!({"authenticated": false, "error": status.message}),
        }
    }
}
