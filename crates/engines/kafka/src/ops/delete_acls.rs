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
    // Numbers that stand for nothing are no request at all, and end the connection.
    let read: Option<Vec<Filter>> = request.filters.iter().map(filter).collect();
    let Some(filters) = read else { return Outcome::Close };
    if cluster.authorizer.is_none() {
        return refused(&request, ErrorCode::SecurityDisabled, DISABLED).into();
    }
    if !super::controller_ready(cluster, ctx, caller) {
        return cluster.park_for_controller(ctx, caller, Request::DeleteAcls(request), TIMEOUT_MS);
    }
    let found = |filter: &Filter| -> Vec<Acl> {
        cluster.authority.acls.iter().filter(|acl| filter.matches(acl)).cloned().collect()
    };
    let matching: Vec<Vec<Acl>> = filters.iter().map(found).collect();
    let doomed: BTreeSet<&Acl> = matching.iter().flatten().collect();
    let records = doomed.into_iter().map(|acl| MetadataRecord::RemoveAcl { acl: acl.clone() }).collect();
    if let Err(error) = cluster.commit(ctx, records) {
        return refused(&request, error, "The controller has no majority.").into();
    }
    let results = matching.into_iter().map(|matching| DeleteAclsFilterResult {
        error_code: 0,
        error_message: None,
        matching_acls: matching.into_iter().map(deleted).collect(),
    });
    respond(results.collect()).into()
}

fn filter(asked: &DeleteAclsFilter) -> Option<Filter> {
    let numbers = Numbers {
        resource_type: asked.resource_type_filter,
        pattern_type: asked.pattern_type_filter,
        operation: asked.operation,
        permission: asked.permission_type,
    };
    let names = (asked.resource_name_filter.clone(), asked.principal_filter.clone(), asked.host_filter.clone());
    describe_acls::filter(&numbers, names)
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

fn respond(filter_results: Vec<DeleteAclsFilterResult>) -> Response {
    Response::DeleteAcls(DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() })
}

pub(super) fn refused(request: &DeleteAclsRequest, error: ErrorCode, reason: &str) -> Response {
    let result = |_| DeleteAclsFilterResult {
        error_code: error.code(),
        error_message: Some(reason.to_owned()),
        matching_acls: Vec::new(),
    };
    respond(request.filters.iter().map(result).collect())
}

pub(super) fn timed_out(request: &DeleteAclsRequest) -> Response {
    refused(request, ErrorCode::RequestTimedOut, "The controller was not reached.")
}
