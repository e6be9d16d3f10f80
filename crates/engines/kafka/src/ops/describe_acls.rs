//! DescribeAcls (29), versions 1–3: the rules of access that a filter finds, by resource.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeAcls>

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::{Acl, Filter, FilterPattern, Operation, PatternType, Permission, ResourceType};
use crate::wire::Response;
use crate::wire::generated::describe_acls_response::{AclDescription, DescribeAclsResource};
use crate::wire::generated::{DescribeAclsRequest, DescribeAclsResponse};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: DescribeAclsRequest) -> Outcome {
    let numbers = Numbers {
        resource_type: request.resource_type_filter,
        pattern_type: request.pattern_type_filter,
        operation: request.operation,
        permission: request.permission_type,
    };
    let names = (request.resource_name_filter, request.principal_filter, request.host_filter);
    // A number that says "unknown" is no request at all, and ends the connection.
    if numbers.say_unknown() {
        return Outcome::Close;
    }
    let filter = filter(&numbers, names);
    if cluster.authorizer.is_none() {
        return Response::DescribeAcls(DescribeAclsResponse {
            error_code: ErrorCode::SecurityDisabled.code(),
            error_message: Some("No Authorizer is configured on the broker".to_owned()),
            ..DescribeAclsResponse::default()
        })
        .into();
    }
    let Some(image) = cluster.brokers.get(&caller.node).map(|broker| &broker.image) else { return Outcome::Close };
    let mut resources: Vec<DescribeAclsResource> = Vec::new();
    // By a number that stands for nothing nothing is found.
    let matches = |acl: &&Acl| filter.as_ref().is_ok_and(|filter| filter.matches(acl));
    for acl in image.acls.iter().filter(matches) {
        let (resource_type, pattern_type) = (acl.resource_type as i8, acl.pattern_type as i8);
        let same = |last: &&mut DescribeAclsResource| {
            (last.resource_type, last.pattern_type, &last.resource_name)
                == (resource_type, pattern_type, &acl.resource_name)
        };
        match resources.last_mut().filter(same) {
            Some(last) => last.acls.push(describe(acl)),
            None => resources.push(DescribeAclsResource {
                resource_type,
                resource_name: acl.resource_name.clone(),
                pattern_type,
                acls: vec![describe(acl)],
            }),
        }
    }
    let error_message = Some(String::new());
    Response::DescribeAcls(DescribeAclsResponse { error_message, resources, ..DescribeAclsResponse::default() }).into()
}

fn describe(acl: &Acl) -> AclDescription {
    AclDescription {
        principal: acl.principal.clone(),
        host: acl.host.clone(),
        operation: acl.operation as i8,
        permission_type: acl.permission as i8,
    }
}

/// What a filter says by numbers; 1 is any.
pub(super) struct Numbers {
    pub resource_type: i8,
    pub pattern_type: i8,
    pub operation: i8,
    pub permission: i8,
}

impl Numbers {
    /// Whether one of them is the number that says so.
    pub(super) fn say_unknown(&self) -> bool {
        [self.resource_type, self.pattern_type, self.operation, self.permission].contains(&0)
    }
}

/// Resource, principal and host that a filter names.
type Names = (Option<String>, Option<String>, Option<String>);

/// The filter, or in Kafka's words what of it stands for nothing.
pub(super) fn filter(numbers: &Numbers, (resource_name, principal, host): Names) -> Result<Filter, &'static str> {
    const ANY: i8 = 1;
    const PATTERN: &str = "Unknown patternFilter.";
    const ENTRY: &str = "Unknown entryFilter.";
    let resource_type = match numbers.resource_type {
        ANY => None,
        number => Some(ResourceType::from_number(number).ok_or(PATTERN)?),
    };
    let pattern = match numbers.pattern_type {
        ANY => FilterPattern::Any,
        2 => FilterPattern::Match,
        3 => FilterPattern::Just(PatternType::Literal),
        4 => FilterPattern::Just(PatternType::Prefixed),
        _ => return Err(PATTERN),
    };
    let operation = match numbers.operation {
        ANY => None,
        number => Some(Operation::from_number(number).ok_or(ENTRY)?),
    };
    let permission = match numbers.permission {
        ANY => None,
        2 => Some(Permission::Deny),
        3 => Some(Permission::Allow),
        _ => return Err(ENTRY),
    };
    Ok(Filter { resource_type, resource_name, pattern, principal, host, operation, permission })
}
