//! Starting, stopping, pausing, asking.

use crate::fixture::*;
use atoll_runtime::*;
use std::time::Duration;

#[tokio::test]
async fn containers_end_as_they_end() {
    let Some(mut stand) = stand("ends").await else { return };
    stand.start(pod("end-0", 5)).await;
    let (text, exit) = stand.output("end-0", shell("fails", "echo out; echo err >&2; exit 7")).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    let (_, exit) = stand.output("end-0", shell("signalled", "(sleep 100 & kill -9 $!; wait $!)")).await;
    assert_eq!(exit.code, 137);
    let mut missing = shell("missing", "");
    missing.command = vec!["atoll-no-such-program".into()];
    let error = stand.runtime.start_container("end-0", missing).await.expect_err("no such program");
    assert_eq!(error.reason(), "RunContainerError");
    assert_eq!(error.to_string(), "exec: \"atoll-no-such-program\": executable file not found in $PATH");
    let unknown = ContainerConfig { image: "payment:v1.2".into(), ..shell("unknown", "") };
    let error = stand.runtime.start_container("end-0", unknown).await.expect_err("no such image");
    assert_eq!(error.reason(), "ErrImagePull");
    let invalid = ContainerConfig { image: "Pay ment".into(), ..shell("invalid", "") };
    let error = stand.runtime.start_container("end-0", invalid).await.expect_err("no image name");
    assert_eq!(error.reason(), "InvalidImageName");
}

#[tokio::test]
async fn stopping_asks_first_and_then_insists() {
    let Some(mut stand) = stand("stop").await else { return };
    stand.start(pod("stop-0", 6)).await;
    let polite = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    stand.run("stop-0", shell("polite", polite)).await;
    stand.printed("stop-0", "polite", "ready").await;
    stand.runtime.stop_container("stop-0", "polite", PATIENCE).await;
    assert_eq!(stand.exit("polite").await.code, 3);
    assert_eq!(stand.log("stop-0", "polite", LogOptions::default()).await, "ready\nbye\n");
    // The first process of a container gets no signal that it does not handle: as on Kubernetes, only SIGKILL ends it.
    stand.run("stop-0", shell("stubborn", "echo ready; sleep 1000 & wait")).await;
    stand.printed("stop-0", "stubborn", "ready").await;
    stand.runtime.stop("stop-0", Duration::from_millis(50)).await;
    assert_eq!(stand.exit("stubborn").await.code, 137);
    assert!(matches!(stand.events.recv().await, Some(Event::PodEnded { uid, .. }) if uid == "stop-0"));
    assert!(stand.runtime.running().is_empty());
    let left = std::fs::read_dir(stand.directory.path().join("pods")).expect("directory").count();
    assert_eq!(left, 0, "the pod's directory is gone");
    let text = stand.log("stop-0", "polite", LogOptions::default()).await;
    assert_eq!(text, "ready\nbye\n", "logs outlive the pod");
    stand.runtime.remove("stop-0").await;
    assert!(stand.runtime.logs("stop-0", "polite", LogOptions::default()).is_err());
}

#[tokio::test]
async fn commands_run_inside_the_container() {
    let Some(stand) = stand("exec").await else { return };
    stand.start(pod("exec-0", 7)).await;
    let mut main = shell("main", "echo ready; while :; do sleep 1000; done");
    main.env = vec![("COLOR".into(), "blue".into())];
    stand.run("exec-0", main).await;
    stand.printed("exec-0", "main", "ready").await;
    let run = async |script: &str, time_max| {
        let argv = ["bash", "-c", script].map(str::to_owned).to_vec();
        stand.runtime.exec("exec-0", "main", argv, time_max).await
    };
    let outcome = run("hostname; echo $COLOR; cat /proc/1/comm; echo oops >&2; exit 4", PATIENCE).await.expect("ran");
    assert_eq!(String::from_utf8_lossy(&outcome.output), "exec-0\nblue\nbash\noops\n");
    assert_eq!(outcome.code, Some(4));
    let outcome = run("echo begun; sleep 999", Duration::from_millis(300)).await.expect("ran");
    assert_eq!(outcome, ExecOutcome { code: None, output: b"begun\n".to_vec() });
    let outcome = run("ps ax 2>/dev/null | grep -c '[s]leep 999'; true", PATIENCE).await.expect("ran");
    assert_eq!(String::from_utf8_lossy(&outcome.output).trim(), "0", "the command that took too long is dead");
    let argv = vec!["atoll-no-such-program".to_owned()];
    let error = stand.runtime.exec("exec-0", "main", argv, PATIENCE).await.expect_err("no such program");
    assert!(error.to_string().contains("executable file not found"), "{error}");
    let argv = vec!["true".to_owned()];
    assert!(stand.runtime.exec("exec-0", "other", argv, PATIENCE).await.is_err(), "no such container");
}

#[tokio::test]
async fn logs_are_read_by_part_and_followed_to_the_end() {
    let Some(mut stand) = stand("logs").await else { return };
    stand.start(pod("log-0", 8)).await;
    stand.output("log-0", shell("talker", "echo first start")).await;
    let script = "for i in 1 2 3 4 5; do echo line $i; done; read go < /tmp/go; echo last; printf unfinished";
    let mut talker = shell("talker", &format!("mkfifo /tmp/go; {script}"));
    talker.restart = 1;
    stand.run("log-0", talker).await;
    stand.printed("log-0", "talker", "line 5").await;
    let options = LogOptions { tail: Some(2), ..LogOptions::default() };
    assert_eq!(stand.log("log-0", "talker", options.clone()).await, "line 4\nline 5\n");
    let previous = LogOptions { previous: true, ..LogOptions::default() };
    assert_eq!(stand.log("log-0", "talker", previous).await, "first start\n");
    let limited = LogOptions { limit_bytes: Some(9), ..LogOptions::default() };
    assert_eq!(stand.log("log-0", "talker", limited).await, "line 1\nli");
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    let since = LogOptions { since: Some(later), ..LogOptions::default() };
    assert_eq!(stand.log("log-0", "talker", since).await, "");
    let timed = stand.log("log-0", "talker", LogOptions { timestamps: true, ..options.clone() }).await;
    assert!(timed.lines().all(|line| line.len() == "2026-01-01T00:00:00.000000000Z line 4".len()), "{timed}");
    let followed = stand.log("log-0", "talker", LogOptions { follow: true, ..options });
    let go = stand.run("log-0", shell("other", "echo > /tmp/go"));
    let (followed, _) = tokio::join!(followed, go);
    assert_eq!(followed, "line 4\nline 5\nlast\nunfinished\n");
    assert_eq!(stand.exit("talker").await.code, 0);
}

#[tokio::test]
async fn a_paused_node_accepts_connections_and_hangs_until_it_goes_on() {
    let Some(stand) = stand("pause").await else { return };
    stand.start(pod("pause-0", 9)).await;
    stand.run("pause-0", server(80)).await;
    stand.printed("pause-0", "server", "listening").await;
    stand.runtime.pause_node(1).await;
    let argv = vec!["true".to_owned()];
    let probe = stand.runtime.exec("pause-0", "server", argv, Duration::from_millis(100)).await.expect("asked");
    assert_eq!(probe.code, None, "nothing starts on a paused node");
    let mut stream = stand.runtime.dial("pause-0", 80, None).await.expect("the kernel accepts");
    let mut text = String::new();
    let silence = tokio::time::timeout(Duration::from_millis(300), {
        use tokio::io::AsyncReadExt;
        stream.read_to_string(&mut text)
    })
    .await;
    assert!(silence.is_err(), "it answered while paused: {text}");
    stand.runtime.resume_node(1).await;
    use tokio::io::AsyncReadExt;
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("in time").expect("text");
    assert_eq!(text, "hello 10.244.1.9\n");
}

#[tokio::test]
async fn a_killed_nodes_pods_die_at_once_and_others_live() {
    let Some(mut stand) = stand("node").await else { return };
    stand.start(pod("dies-0", 10)).await;
    let mut other = pod("lives-0", 11);
    other.node = 2;
    stand.start(other).await;
    stand.run("dies-0", server(80)).await;
    stand.run("lives-0", server(80)).await;
    stand.printed("dies-0", "server", "listening").await;
    stand.printed("lives-0", "server", "listening").await;
    let open = stand.runtime.dial("dies-0", 80, None).await.expect("connected");
    stand.runtime.kill_node(1).await;
    assert_eq!(stand.runtime.running(), ["lives-0"]);
    assert!(matches!(stand.events.recv().await, Some(Event::PodEnded { uid, node: 1 }) if uid == "dies-0"));
    assert!(stand.runtime.dial("dies-0", 80, None).await.is_err());
    assert!(stand.runtime.dial("lives-0", 80, None).await.is_ok());
    drop(open);
}
