//! DeleteAcls (31), versions 1–3: takes away all rules of access that filters find.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DeleteAcls>

use std::collections::BTreeSet;

use atoll_kernel::Context;

use super::create_acls::{DISABLED, TIMEOUT_MS};
use super::describe_acls::{self, Numbers};
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::{Acl, Filter};
use crate::state::image::MetadataRecord;
use crate::wire::generated::delete_acls_request::DeleteAclsFilter;
use crate::wire::generated::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
use crate::wire::generated::{DeleteAclsRequest, DeleteAclsResponse};
use crate::wire::{Request, Response};

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: DeleteAclsRequest) -> Outcome {
    // A number that says "unknown" is no request at all, and ends the connection.
    if request.filters.iter().any(|asked| numbers(asked).say_unknown()) {
        return Outcome::Close;
    }
    if cluster.authorizer.is_none() {
        return refused(&request, ErrorCode::SecurityDisabled, DISABLED).into();
    }
    if !super::controller_ready(cluster, ctx, caller) {
        return cluster.park_for_controller(ctx, caller, Request::DeleteAcls(request), TIMEOUT_MS);
    }
    let found = |asked: &DeleteAclsFilter| -> Result<Vec<Acl>, &'static str> {
        let filter = filter(asked)?;
        Ok(cluster.authority.acls.iter().filter(|acl| filter.matches(acl)).cloned().collect())
    };
    let matching: Vec<Result<Vec<Acl>, &str>> = request.filters.iter().map(found).collect();
    let doomed: BTreeSet<&Acl> = matching.iter().flatten().flatten().collect();
    let records = doomed.into_iter().map(|acl| MetadataRecord::RemoveAcl { acl: acl.clone() }).collect();
    if let Err(error) = cluster.commit(ctx, records) {
        return refused(&request, error, "The controller has no majority.").into();
    }
    let results = matching.into_iter().map(|matching| match matching {
        Ok(matching) => DeleteAclsFilterResult {
            error_code: 0,
            error_message: None,
            matching_acls: matching.into_iter().map(deleted).collect(),
        },
        Err(reason) => result(ErrorCode::InvalidRequest, reason),
    });
    respond(results.collect()).into()
}

fn numbers(asked: &DeleteAclsFilter) -> Numbers {
    Numbers {
        resource_type: asked.resource_type_filter,
        pattern_type: asked.pattern_type_filter,
        operation: asked.operation,
        permission: asked.permission_type,
    }
}

/// The filter, or what of it stands for nothing.
fn filter(asked: &DeleteAclsFilter) -> Result<Filter, &'static str> {
    let names = (asked.resource_name_filter.clone(), asked.principal_filter.clone(), asked.host_filter.clone());
    describe_acls::filter(&numbers(asked), names)
}

fn deleted(acl: Acl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        error_code: 0,
        error_message: None,
        resource_type: acl.resource_type as i8,
        resource_name: acl.resource_name,
        pattern_type: acl.pattern_type as i8,
        principal: acl.principal,
        host: acl.host,
        operation: acl.operation as i8,
        permission_type: acl.permission as i8,
    }
}

fn result(error: ErrorCode, reason: &str) -> DeleteAclsFilterResult {
    DeleteAclsFilterResult {
        error_code: error.code(),
        error_message: Some(reason.to_owned()),
        matching_acls: Vec::new(),
    }
}

fn respond(filter_results: Vec<DeleteAclsFilterResult>) -> Response {
    Response::DeleteAcls(DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() })
}

pub(super) fn refused(request: &DeleteAclsRequest, error: ErrorCode, reason: &str) -> Response {
    respond(request.filters.iter().map(|_| result(error, reason)).collect())
}

pub(super) fn timed_out(request: &DeleteAclsRequest) -> Response {
    refused(request, ErrorCode::RequestTimedOut, "The controller was not reached.")
}
