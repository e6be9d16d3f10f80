//! What a pod sees of the world, and what it may use of it.

use crate::fixture::*;
use atoll_runtime::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_pod_sees_itself_alone() {
    let Some(mut stand) = stand("alone").await else { return };
    stand.start(pod("web-0", 5)).await;
    let (text, exit) = stand
        .output(
            "web-0",
            shell(
                "look",
                "ls /sys/class/net /proc/sys/net/ipv4/conf 2>/dev/null | grep -c eth; tail -n +3 /proc/net/dev | cut -d: -f1; \
                 hostname; cat /etc/hostname /etc/resolv.conf; grep web-0 /etc/hosts; echo pid $$; \
                 ls -d /proc/[0-9]* | wc -l; ls -A /tmp | wc -l; echo $HOSTNAME; \
                 (echo x > /sys/kernel/x) 2>/dev/null || echo sys is read-only; \
                 (hostname other) 2>/dev/null || echo no capability",
            ),
        )
        .await;
    assert_eq!(exit.code, 0, "{text}");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let expected =
        ["0", "lo", "web-0", "web-0", "nameserver 10.96.0.10", "options ndots:5", "10.244.1.5\tweb-0", "pid 1"];
    assert_eq!(lines[..8], expected, "{text}");
    assert!(lines[8].parse::<u32>().expect("a count of processes") <= 4, "only its own processes: {text}");
    assert_eq!(lines[9..], ["0", "web-0", "sys is read-only", "no capability"], "{text}");
}

#[tokio::test]
async fn volumes_appear_where_mounted_and_nothing_is_created_on_the_host() {
    let Some(mut stand) = stand("volumes").await else { return };
    let mut config = pod("vol-0", 6);
    let file = |text: &str| {
        let file = ProjectedFile { contents: text.into(), mode: 0o444 };
        BTreeMap::from([("app.conf".to_owned(), file)])
    };
    config.volumes.insert("config".into(), Volume::Files(file("color=blue\n")));
    config.volumes.insert("scratch".into(), Volume::EmptyDir);
    stand.start(config).await;
    let mount = |volume: &str, path: &str| Mount { volume: volume.into(), path: path.into(), ..Mount::default() };
    let mut writer = shell(
        "writer",
        "cat /etc/atoll-test-app/config/app.conf; (echo no > /etc/atoll-test-app/config/app.conf) 2>/dev/null || echo read-only; \
         echo from the first > /atoll-test-data/note; cat /etc/atoll-test-one.conf; test -e /etc/passwd && echo passwd",
    );
    writer.mounts = vec![
        mount("config", "/etc/atoll-test-app/config"),
        mount("scratch", "/atoll-test-data"),
        Mount { sub_path: Some("app.conf".into()), ..mount("config", "/etc/atoll-test-one.conf") },
    ];
    let (text, exit) = stand.output("vol-0", writer).await;
    assert_eq!((text.as_str(), exit.code), ("color=blue\nread-only\ncolor=blue\npasswd\n", 0));
    for path in ["/etc/atoll-test-app", "/atoll-test-data", "/etc/atoll-test-one.conf"] {
        assert!(!std::path::Path::new(path).exists(), "{path} was made on the host");
    }
    let mut reader = shell("reader", "cat /srv/x/note; cat /srv/y/app.conf; read go < /srv/x/go; cat /srv/y/app.conf");
    reader.mounts = vec![mount("scratch", "/srv/x"), mount("config", "/srv/y")];
    let mut waiter = shell("waiter", "mkfifo /srv/x/go; echo made");
    waiter.mounts = vec![mount("scratch", "/srv/x")];
    stand.output("vol-0", waiter.clone()).await;
    stand.run("vol-0", reader).await;
    stand.printed("vol-0", "reader", "color=blue").await;
    stand.runtime.update_volume("vol-0", "config", &file("color=red\n")).expect("updated");
    waiter.args = vec!["echo go > /srv/x/go".into()];
    waiter.restart = 1;
    stand.run("vol-0", waiter).await;
    stand.exit("reader").await;
    let text = stand.log("vol-0", "reader", LogOptions::default()).await;
    assert_eq!(text, "from the first\ncolor=blue\ncolor=red\n");
}

#[tokio::test]
async fn a_container_over_its_memory_limit_is_killed_and_it_says_why() {
    let Some(mut stand) = stand("memory").await else { return };
    stand.start(pod("mem-0", 7)).await;
    let mut hungry = perl("hungry", "my $x = 'a' x (256 * 1024 * 1024); print 'fed'");
    hungry.resources = Resources::limited(1000, 32 * 1024 * 1024);
    let started = stand.run("mem-0", hungry).await;
    let exit = stand.exit("hungry").await;
    match started.unlimited {
        None => assert!(exit.oom_killed && exit.code == 137, "{exit:?}"),
        Some(reason) => {
            assert!(!is_root(), "root has control groups: {reason}");
            assert_eq!(exit.code, 0, "without control groups nothing limits it");
        }
    }
    let mut modest = perl("modest", "print 'fed'");
    modest.resources = Resources::limited(1000, 32 * 1024 * 1024);
    let (text, exit) = stand.output("mem-0", modest).await;
    assert_eq!((text.as_str(), exit.code, exit.oom_killed), ("fed\n", 0, false));
    let mut lasting = shell("lasting", "sleep 1000 & wait");
    lasting.resources = Resources::limited(1000, 32 * 1024 * 1024);
    stand.run("mem-0", lasting).await;
    stand.runtime.shutdown().await;
    let name = format!("atoll-test-memory-{}", std::process::id());
    let left = std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &name]).output().expect("find");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "control groups are left");
}

#[tokio::test]
async fn a_cpu_limit_holds() {
    let Some(mut stand) = stand("cpu").await else { return };
    stand.start(pod("cpu-0", 8)).await;
    // 0.3 s of work at a tenth of a core are at least two seconds: the first period's share comes at once.
    let mut busy = perl("busy", "while ((times)[0] < 0.3) { my $x = 0; $x += $_ for 1..1000 }");
    busy.resources.cpu_limit_millis = Some(100);
    let begun = Instant::now();
    let started = stand.run("cpu-0", busy).await;
    assert_eq!(stand.exit("busy").await.code, 0);
    match started.unlimited {
        None => assert!(begun.elapsed() > Duration::from_millis(2000), "took only {:?}", begun.elapsed()),
        Some(reason) => assert!(!is_root(), "root has control groups: {reason}"),
    }
    stand.runtime.shutdown().await;
}

#[tokio::test]
async fn an_application_below_tmp_sees_its_own_directory_there_and_nothing_else() {
    let Some(mut stand) = stand("below-tmp").await else { return };
    let application = tempfile::tempdir_in("/tmp").expect("temporary directory");
    std::fs::write(application.path().join("main.txt"), "here\n").expect("written");
    stand.start(pod("tmp-0", 7)).await;
    // As `workdir: .` in a stack file becomes.
    let mut container = shell("look", "cat main.txt; pwd; ls -A /tmp | wc -l");
    container.working_dir = Some(application.path().join("."));
    let (text, exit) = stand.output("tmp-0", container).await;
    assert_eq!((text, exit.code), (format!("here\n{}\n1\n", application.path().display()), 0));
}
