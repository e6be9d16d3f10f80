//! CreateAcls (30), versions 1–3: adds rules of access, in the cluster's metadata.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_CreateAcls>

use atoll_kernel::Context;

use super::describe_acls::Numbers;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::{Acl, CLUSTER_NAME, Operation, PatternType, Permission, ResourceType};
use crate::state::image::MetadataRecord;
use crate::wire::generated::create_acls_request::AclCreation;
use crate::wire::generated::create_acls_response::AclCreationResult;
use crate::wire::generated::{CreateAclsRequest, CreateAclsResponse};
use crate::wire::{Request, Response};

/// How long the controller is waited for; the request does not say.
pub(super) const TIMEOUT_MS: i32 = 30_000;
/// Numbers that only filters have: any at all, and any pattern that matches.
const ANY: i8 = 1;
const MATCH: i8 = 2;
/// What is said where there is no authorizer.
pub(super) const DISABLED: &str = "No Authorizer is configured.";

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: CreateAclsRequest) -> Outcome {
    // A number that says "unknown" is no request at all, and ends the connection.
    if request.creations.iter().any(is_unknown) {
        return Outcome::Close;
    }
    if cluster.authorizer.is_none() {
        return refused(&request, ErrorCode::SecurityDisabled, DISABLED).into();
    }
    if !super::controller_ready(cluster, ctx, caller) {
        return cluster.park_for_controller(ctx, caller, Request::CreateAcls(request), TIMEOUT_MS);
    }
    // One rule that is a filter spoils all.
    if request.creations.iter().any(is_filter) {
        let error_code = ErrorCode::UnknownServerError.code();
        let spoilt = |_| AclCreationResult { error_code, error_message: None };
        return respond(request.creations.iter().map(spoilt).collect()).into();
    }
    let read: Vec<Result<Acl, String>> = request.creations.iter().map(acl).collect();
    let mut records: Vec<MetadataRecord> = Vec::new();
    for acl in read.iter().flatten() {
        let record = MetadataRecord::AddAcl { acl: acl.clone() };
        if !cluster.authority.acls.contains(acl) && !records.contains(&record) {
            records.push(record);
        }
    }
    let committed = cluster.commit(ctx, records);
    let results = read.into_iter().map(|read| match (read, committed) {
        (Err(reason), _) => result(ErrorCode::InvalidRequest, &reason),
        (Ok(_), Err(error)) => result(error, "The controller has no majority."),
        (Ok(_), Ok(())) => AclCreationResult { error_code: 0, error_message: Some(String::new()) },
    });
    respond(results.collect()).into()
}

fn is_unknown(creation: &AclCreation) -> bool {
    let numbers = Numbers {
        resource_type: creation.resource_type,
        pattern_type: creation.resource_pattern_type,
        operation: creation.operation,
        permission: creation.permission_type,
    };
    numbers.say_unknown()
}

/// What stands in filters only, and cannot even be a rule that is wrong.
fn is_filter(creation: &AclCreation) -> bool {
    let wide_pattern = matches!(creation.resource_pattern_type, ANY | MATCH);
    wide_pattern || [creation.resource_type, creation.operation, creation.permission_type].contains(&ANY)
}

/// The rule, or why there can be no such rule.
fn acl(creation: &AclCreation) -> Result<Acl, String> {
    let kind = ResourceType::from_number(creation.resource_type);
    if kind == Some(ResourceType::Cluster) && creation.resource_name != CLUSTER_NAME {
        return Err(format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}"));
    }
    if creation.resource_name.is_empty() {
        return Err("Invalid empty resource name".to_owned());
    }
    let resource_type = kind.ok_or("Invalid resourceType UNKNOWN")?;
    let pattern_type = match creation.resource_pattern_type {
        3 => PatternType::Literal,
        4 => PatternType::Prefixed,
        _ => return Err("Invalid patternType UNKNOWN".to_owned()),
    };
    let operation = Operation::from_number(creation.operation).ok_or("Invalid operation UNKNOWN")?;
    let permission = match creation.permission_type {
        2 => Permission::Deny,
        3 => Permission::Allow,
        _ => return Err("Invalid permissionType UNKNOWN".to_owned()),
    };
    if !creation.principal.contains(':') {
        return Err(format!(
            "Could not parse principal from `{}` (no colon is present separating the principal type from the principal name)",
            creation.principal
        ));
    }
    Ok(Acl {
        resource_type,
        resource_name: creation.resource_name.clone(),
        pattern_type,
        principal: creation.principal.clone(),
        host: creation.host.clone(),
        operation,
        permission,
    })
}

fn result(error: ErrorCode, reason: &str) -> AclCreationResult {
    AclCreationResult { error_code: error.code(), error_message: Some(reason.to_owned()) }
}

fn respond(results: Vec<AclCreationResult>) -> Response {
    Response::CreateAcls(CreateAclsResponse { results, ..CreateAclsResponse::default() })
}

pub(super) fn refused(request: &CreateAclsRequest, error: ErrorCode, reason: &str) -> Response {
    respond(request.creations.iter().map(|_| result(error, reason)).collect())
}

pub(super) fn timed_out(request: &CreateAclsRequest) -> Response {
    refused(request, ErrorCode::RequestTimedOut, "The controller was not reached.")
}
