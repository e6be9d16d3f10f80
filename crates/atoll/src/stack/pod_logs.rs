//! What containers print, brought into the merged log as it comes.

use std::collections::BTreeSet;
use std::sync::Arc;

use atoll_kernel::Kernel;
use atoll_kubernetes::{Client, LogOptions, ResourceId};
use bytes::BytesMut;
use serde_json::Value;

use crate::logs::Logs;

/// More than the merged log keeps of a line.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One run of one container: (namespace, pod, container, its id).
type Run = (String, String, String, String);

/// Follows every container that starts, from now until the API server ends.
pub async fn follow(client: Client, kernel: Kernel, logs: Logs) {
    let (_, mut subscription) = client.subscribe(&[ResourceId::Pods]);
    let mut followed: BTreeSet<Run> = BTreeSet::new();
    loop {
        let present: BTreeSet<Run> = client.list(ResourceId::Pods).iter().flat_map(runs).collect();
        for run in present.difference(&followed) {
            tokio::spawn(copy(client.clone(), kernel.clone(), logs.clone(), run.clone()));
        }
        followed = present;
        if subscription.next().await.is_none() {
            return;
        }
    }
}

/// The containers of a pod that run, or have run: some are done before anybody looks.
fn runs(pod: &Arc<Value>) -> Vec<Run> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let statuses =
        ["containerStatuses", "initContainerStatuses"].iter().filter_map(|list| pod["status"][*list].as_array());
    statuses
        .flatten()
        .filter(|status| status["state"]["running"].is_object() || status["state"]["terminated"].is_object())
        .map(|status| {
            let metadata = &pod["metadata"];
            (text(&metadata["namespace"]), text(&metadata["name"]), text(&status["name"]), text(&status["containerID"]))
        })
        .collect()
}

async fn copy(client: Client, kernel: Kernel, logs: Logs, (namespace, pod, container, _): Run) {
    let options = LogOptions { follow: true, ..LogOptions::default() };
    // The pod may be gone already; then it has nothing more to say.
    let Ok(mut pieces) = client.logs(&namespace, &pod, &container, &options) else { return };
    let source = format!("pod/{pod}/{container}");
    let mut rest = BytesMut::new();
    while let Some(piece) = pieces.recv().await {
        rest.extend_from_slice(&piece);
        while let Some(end) = end_of_line(&rest) {
            let line = rest.split_to(end);
            logs.push(kernel.wall().as_millis(), &source, String::from_utf8_lossy(&line).trim_end());
        }
    }
}

/// Where the first line ends; a line that goes on and on is cut.
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let newline = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    newline.or((bytes.len() > LINE_BYTES_MAX).then_some(bytes.len()))
}
