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
    // A filter by numbers that stand for nothing is no request at all, and ends the connection.
    let Some(filter) = filter(&numbers, names) else { return Outcome::Close };
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
    for acl in image.acls.iter().filter(|acl| filter.matches(acl)) {
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
    let response = DescribeAclsResponse { error_message: None, resources, ..DescribeAclsResponse::default() };
    Response::DescribeAcls(response).into()
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

/// Resource, principal and host that a filter names.
type Names = (Option<String>, Option<String>, Option<String>);

/// The filter; None if one of its numbers stands for nothing.
pub(super) fn filter(numbers: &Numbers, (resource_name, principal, host): Names) -> Option<Filter> {
    const ANY: i8 = 1;
    let resource_type = match numbers.resource_type {
        ANY => None,
        number => Some(ResourceType::from_number(number)?),
    };
    let pattern = match numbers.pattern_type {
        ANY => FilterPattern::Any,
        2 => FilterPattern::Match,
        3 => FilterPattern::Just(PatternType::Literal),
        4 => FilterPattern::Just(PatternType::Prefixed),
        _ => return None,
    };
    let operation = match numbers.operation {
        ANY => None,
        number => Some(Operation::from_number(number)?),
    };
    let permission = match numbers.permission {
        ANY => None,
        2 => Some(Permission::Deny),
        3 => Some(Permission::Allow),
        _ => return None,
    };
    Some(Filter { resource_type, resource_name, pattern, principal, host, operation, permission })
}
