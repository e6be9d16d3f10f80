//! The dispatch table: every resource that the API offers, with its verbs and subresources.
//!
//! Discovery, OpenAPI, routing and COVERAGE.md are all made from, or checked against, this table.

/// A resource of the table; also its position in [`RESOURCES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum ResourceId {
    Namespaces,
    Nodes,
    Pods,
    Services,
    Endpoints,
    ConfigMaps,
    Secrets,
    Events,
    ServiceAccounts,
    Deployments,
    ReplicaSets,
    EndpointSlices,
    Leases,
    Roles,
    ClusterRoles,
    RoleBindings,
    ClusterRoleBindings,
    SelfSubjectAccessReviews,
    SelfSubjectRulesReviews,
    SubjectAccessReviews,
    SelfSubjectReviews,
    TokenReviews,
}

/// One row of the table.
#[derive(Debug)]
pub struct Resource {
    /// Which row this is.
    pub id: ResourceId,
    /// API group, "" for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural name, as in paths.
    pub plural: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Kind, which is also the name of the type in `schema/types.txt`.
    pub kind: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Short names for `kubectl`.
    pub short: &'static [&'static str],
    /// Categories, as `all`.
    pub categories: &'static [&'static str],
    /// Fields beyond name and namespace that field selectors know.
    pub selectable: &'static [&'static str],
    /// Subresources, with the verbs of each.
    pub subresources: &'static [Subresource],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// One subresource of a row.
#[derive(Debug)]
pub struct Subresource {
    /// Name, as in paths.
    pub name: &'static str,
    /// Group, version and kind of what is read and written, where they are not the parent's.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

const STORED: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const REVIEW: &[&str] = &["create"];
const STATUS: Subresource = Subresource { name: "status", kind: None, verbs: &["get", "patch", "update"] };
const SCALE: Subresource =
    Subresource { name: "scale", kind: Some(("autoscaling", "v1", "Scale")), verbs: &["get", "patch", "update"] };

const fn row(
    id: ResourceId,
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Resource {
    Resource {
        id,
        group,
        version: "v1",
        plural,
        singular,
        kind,
        namespaced,
        short: &[],
        categories: &[],
        selectable: &[],
        subresources: &[],
        verbs: STORED,
    }
}

const fn review(
    id: ResourceId,
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
) -> Resource {
    Resource { verbs: REVIEW, ..row(id, group, plural, singular, kind, false) }
}

/// Every resource, in the order of [`ResourceId`].
pub const RESOURCES: &[Resource] = &[
    Resource {
        short: &["ns"],
        selectable: &["status.phase"],
        subresources: &[Subresource { name: "finalize", kind: None, verbs: &["update"] }, STATUS],
        ..row(ResourceId::Namespaces, "", "namespaces", "namespace", "Namespace", false)
    },
    Resource {
        short: &["no"],
        selectable: &["spec.unschedulable"],
        subresources: &[STATUS],
        ..row(ResourceId::Nodes, "", "nodes", "node", "Node", false)
    },
    Resource {
        short: &["po"],
        categories: &["all"],
        selectable: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        subresources: &[
            Subresource { name: "binding", kind: Some(("", "v1", "Binding")), verbs: &["create"] },
            Subresource { name: "eviction", kind: Some(("policy", "v1", "Eviction")), verbs: &["create"] },
            Subresource { name: "log", kind: None, verbs: &["get"] },
            STATUS,
        ],
        ..row(ResourceId::Pods, "", "pods", "pod", "Pod", true)
    },
    Resource {
        short: &["svc"],
        categories: &["all"],
        selectable: &["spec.clusterIP", "spec.type"],
        subresources: &[STATUS],
        ..row(ResourceId::Services, "", "services", "service", "Service", true)
    },
    Resource { short: &["ep"], ..row(ResourceId::Endpoints, "", "endpoints", "endpoints", "Endpoints", true) },
    Resource { short: &["cm"], ..row(ResourceId::ConfigMaps, "", "configmaps", "configmap", "ConfigMap", true) },
    Resource { selectable: &["type"], ..row(ResourceId::Secrets, "", "secrets", "secret", "Secret", true) },
    Resource {
        short: &["ev"],
        selectable: &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ..row(ResourceId::Events, "", "events", "event", "Event", true)
    },
    Resource {
        short: &["sa"],
        subresources: &[Subresource {
            name: "token",
            kind: Some(("authentication.k8s.io", "v1", "TokenRequest")),
            verbs: &["create"],
        }],
        ..row(ResourceId::ServiceAccounts, "", "serviceaccounts", "serviceaccount", "ServiceAccount", true)
    },
    Resource {
        short: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        ..row(ResourceId::Deployments, "apps", "deployments", "deployment", "Deployment", true)
    },
    Resource {
        short: &["rs"],
        categories: &["all"],
        selectable: &["status.replicas"],
        subresources: &[SCALE, STATUS],
        ..row(ResourceId::ReplicaSets, "apps", "replicasets", "replicaset", "ReplicaSet", true)
    },
    row(ResourceId::EndpointSlices, "discovery.k8s.io", "endpointslices", "endpointslice", "EndpointSlice", true),
    row(ResourceId::Leases, "coordination.k8s.io", "leases", "lease", "Lease", true),
    row(ResourceId::Roles, "rbac.authorization.k8s.io", "roles", "role", "Role", true),
    row(ResourceId::ClusterRoles, "rbac.authorization.k8s.io", "clusterroles", "clusterrole", "ClusterRole", false),
    row(ResourceId::RoleBindings, "rbac.authorization.k8s.io", "rolebindings", "rolebinding", "RoleBinding", true),
    row(
        ResourceId::ClusterRoleBindings,
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "clusterrolebinding",
        "ClusterRoleBinding",
        false,
    ),
    review(
        ResourceId::SelfSubjectAccessReviews,
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "SelfSubjectAccessReview",
    ),
    review(
        ResourceId::SelfSubjectRulesReviews,
        "authorization.k8s.io",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        "SelfSubjectRulesReview",
    ),
    review(
        ResourceId::SubjectAccessReviews,
        "authorization.k8s.io",
        "subjectaccessreviews",
        "subjectaccessreview",
        "SubjectAccessReview",
    ),
    review(
        ResourceId::SelfSubjectReviews,
        "authentication.k8s.io",
        "selfsubjectreviews",
        "selfsubjectreview",
        "SelfSubjectReview",
    ),
    review(ResourceId::TokenReviews, "authentication.k8s.io", "tokenreviews", "tokenreview", "TokenReview"),
];

impl ResourceId {
    /// The row of this resource.
    pub fn row(self) -> &'static Resource {
        &RESOURCES[self as usize]
    }
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path prefix of the group and version: `/api/v1` or `/apis/apps/v1`.
    pub fn prefix(&self) -> String {
        let api_version = self.api_version();
        if self.group.is_empty() { format!("/api/{api_version}") } else { format!("/apis/{api_version}") }
    }

    /// Whether objects of this resource are stored (reviews are only answered).
    pub fn is_stored(&self) -> bool {
        self.verbs.len() > 1
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        let row: &'static Resource = self.id.row();
        row.subresources.iter().find(|subresource| subresource.name == name)
    }
}

/// The row of a group, version and plural name.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|row| row.group == group && row.version == version && row.plural == plural)
}

/// The row of an `apiVersion` and kind.
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|row| row.kind == kind && row.api_version() == api_version)
}

/// Every group and version, each once, the core group first.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut seen = Vec::new();
    for row in RESOURCES {
        if !seen.contains(&(row.group, row.version)) {
            seen.push((row.group, row.version));
        }
    }
    seen
}
