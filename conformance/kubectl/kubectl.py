"""Runs kubectl against a Kubernetes API and looks at what it prints.

    kubectl.py [KUBECONFIG]        KUBECTL names another kubectl than the one in PATH

Everything happens in a namespace of its own, which is deleted at the end. The pods' images are `sleep` (runs until it is
stopped), `lines` (prints `line 1` to `line 5`, then runs), `crash` (prints `line 5`, exits with 1), `done` (exits with 0) and
`absent`, which cannot be had.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.check import check, end, report  # noqa: E402  (the path must be there first)

if len(sys.argv) > 1:
    os.environ["KUBECONFIG"] = sys.argv[1]
if "KUBECONFIG" not in os.environ:
    report("kubectl", skip="there is no Kubernetes API here")
    sys.exit(0)

KUBECTL = os.environ.get("KUBECTL", "kubectl")
SPACE = f"conformance-{os.getpid()}"
# Where kubectl keeps what it has learnt of a server; another server may have had the same address.
CACHE = tempfile.mkdtemp(prefix="kubectl-cache-")

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: sleep
        ports: [{containerPort: 8080, name: http}]
        env: [{name: GREETING, value: hello}]
        resources: {requests: {cpu: 10m, memory: 16Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
"""


def kubectl(*words: str, stdin: str = "", fails: bool = False, seconds: int = 60) -> str:
    """What kubectl prints, on both outputs. Its exit code must be as expected."""
    command = [KUBECTL, f"--cache-dir={CACHE}", "-n", SPACE, *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, f"`{' '.join(words)}` exited with {done.returncode}: {said}"
    return said


def get(*words: str) -> dict:
    return json.loads(kubectl("get", *words, "-o", "json"))


def like(said: str, *patterns: str) -> str:
    for pattern in patterns:
        assert re.search(pattern, said, re.MULTILINE), f"{pattern!r} is not in: {said}"
    return said


def until(what, seconds: float = 30.0):
    """Asks again until the answer is true; kubectl itself is what is waited with wherever it can wait."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)
    return answer


VERSION = re.search(r'GitVersion:"v(\d+)\.(\d+)|Client Version: v(\d+)\.(\d+)', kubectl("version"))
MINOR = int(VERSION.group(2) or VERSION.group(4))
kubectl("create", "namespace", SPACE)
# The namespace's service account comes with it, and every pod needs it.
until(lambda: "default" in kubectl("get", "serviceaccounts"))


@check("version, cluster-info, api-resources, api-versions, raw paths")
def _():
    like(kubectl("version"), r"v1\.33\.")
    like(kubectl("cluster-info"), r"control plane.*is running at.*https://")
    like(kubectl("api-resources"), r"^deployments +deploy +apps/v1 +true +Deployment$", r"^namespaces +ns +v1 +false +Namespace$")
    like(kubectl("api-versions"), r"^apps/v1$", r"^v1$")
    for path in ("/healthz", "/livez", "/readyz"):
        assert kubectl("get", "--raw", path) == "ok"
    like(kubectl("get", "--raw", "/version"), r'"major":"1","minor":"33"')


@check("nodes are ready and described")
def _():
    like(kubectl("get", "nodes", "-o", "wide"), r"^NAME +STATUS +ROLES +AGE +VERSION +INTERNAL-IP", r"^\S+ +Ready +control-plane .* 10\.240\.0\.1 ")
    like(kubectl("describe", "node", get("nodes")["items"][0]["metadata"]["name"]), r"^Capacity:", r"KubeletReady", r"^Allocated resources:")


@check("apply creates, leaves alone and configures")
def _():
    like(kubectl("apply", "-f", "-", stdin=WEB), r"deployment.apps/web created", r"service/web created")
    like(kubectl("apply", "-f", "-", stdin=WEB), r"deployment.apps/web unchanged", r"service/web unchanged")
    like(kubectl("rollout", "status", "deployment/web", "--timeout=60s"), r"successfully rolled out")
    more = WEB.replace("value: hello", "value: bonjour")
    like(kubectl("apply", "-f", "-", stdin=more), r"deployment.apps/web configured")
    like(kubectl("rollout", "status", "deployment/web", "--timeout=60s"), r"successfully rolled out")
    assert get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "GREETING", "value": "bonjour"}]


@check("get prints the server's tables")
def _():
    like(kubectl("get", "deployments"), r"^NAME +READY +UP-TO-DATE +AVAILABLE +AGE$", r"^web +3/3 +3 +3 +\d+")
    like(kubectl("get", "pods", "-o", "wide"), r"^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE", r"^web-\S+ +1/1 +Running +0 +\S+ +10\.244\.\d\.\d+ +\S+")
    like(kubectl("get", "services"), r"^web +ClusterIP +10\.96\.\d+\.\d+ +<none> +80/TCP")
    like(kubectl("get", "all"), r"^pod/web-", r"^service/web ", r"^deployment.apps/web ", r"^replicaset.apps/web-")
    like(kubectl("get", "pods", "-A"), rf"^{SPACE} +web-")
    like(kubectl("get", "endpoints", "web"), r"(10\.244\.\d\.\d+:8080,?){3}")
    # Pods of the revision before that are about to go are there as well, and not ready.
    (slice,) = get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
    assert len([endpoint for endpoint in slice["endpoints"] if endpoint["conditions"]["ready"]]) == 3, slice


@check("pods are spread over the nodes")
def _():
    nodes = [pod["spec"]["nodeName"] for pod in get("pods", "-l", "app=web")["items"] if "deletionTimestamp" not in pod["metadata"]]
    assert len(set(nodes)) == min(3, len(get("nodes")["items"])), nodes


@check("selectors by label and field, sorting, jsonpath, names, pages")
def _():
    assert len(get("pods", "-l", "app=web")["items"]) >= 3
    assert get("pods", "-l", "app in (api)")["items"] == []
    assert kubectl("get", "deployments", "-o", "name").split() == ["deployment.apps/web"]
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "3"
    assert len(get("pods", "--field-selector", "status.phase=Running")["items"]) >= 3
    like(kubectl("get", "pods", "--field-selector", "spec.colour=red", fails=True), r"field label not supported: spec.colour")
    assert kubectl("get", "pods", "--chunk-size=1", "-o", "name").split() == kubectl("get", "pods", "-o", "name").split()
    kubectl("get", "events", "--sort-by=.lastTimestamp")


@check("describe shows conditions and events")
def _():
    pod = get("pods", "-l", "app=web", "--sort-by=.metadata.creationTimestamp")["items"][-1]["metadata"]["name"]
    said = kubectl("describe", "pod", pod)
    like(said, r"^Status: +Running", r"^Controlled By: +ReplicaSet/web-", r"GREETING: +bonjour", r"Ready +True", r"Scheduled .*Successfully assigned", r"Started .*Started container app")
    like(kubectl("describe", "deployment", "web"), r"^RollingUpdateStrategy: +25% max unavailable, 25% max surge", r"ScalingReplicaSet")
    like(kubectl("describe", "service", "web"), r"^Selector: +app=web", r"^Endpoints: +10\.244\.")


@check("scale and wait")
def _():
    like(kubectl("scale", "deployment/web", "--replicas=5"), r"scaled")
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    until(lambda: get("deployment", "web")["status"].get("readyReplicas") == 5)
    like(kubectl("scale", "deployment/web", "--current-replicas=3", "--replicas=2", fails=True), r"[Ee]xpected replicas to be 3, was 5")
    kubectl("scale", "deployment/web", "--replicas=2")
    until(lambda: len([p for p in get("pods", "-l", "app=web")["items"]]) == 2)


@check("rollouts: history, restart, undo, pause and resume")
def _():
    kubectl("set", "image", "deployment/web", "app=lines")
    like(kubectl("rollout", "status", "deployment/web", "--timeout=60s"), r"successfully rolled out")
    like(kubectl("rollout", "history", "deployment/web"), r"^1 ", r"^2 ", r"^3 ")
    kubectl("rollout", "undo", "deployment/web")
    like(kubectl("rollout", "status", "deployment/web", "--timeout=60s"), r"successfully rolled out")
    assert get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["image"] == "sleep"
    like(kubectl("rollout", "restart", "deployment/web"), r"restarted")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    like(kubectl("rollout", "pause", "deployment/web"), r"paused")
    like(kubectl("rollout", "resume", "deployment/web"), r"resumed")


@check("logs: tail, follow, previous, of a container")
def _():
    kubectl("run", "talker", "--image=lines")
    kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=30s")
    until(lambda: "line 5" in kubectl("logs", "talker"))
    assert len(kubectl("logs", "talker", "--tail=2").splitlines()) == 2
    like(kubectl("logs", "talker", "-c", "talker", "--timestamps"), r"line 5$")
    like(kubectl("logs", "talker", "-c", "other", fails=True), r"container other is not valid for pod talker")
    like(kubectl("logs", "talker", "--previous", fails=True), r'previous terminated container "talker" in pod "talker" not found')
    follower = subprocess.Popen([KUBECTL, "-n", SPACE, "logs", "-f", "talker"], stdout=subprocess.PIPE, text=True)
    try:
        assert re.search(r"line \d", follower.stdout.readline())
        assert follower.poll() is None
    finally:
        follower.kill()
        follower.wait()


@check("what crashes backs off, what ends is completed, what is not there cannot be pulled")
def _():
    kubectl("run", "crasher", "--image=crash")
    kubectl("run", "ender", "--image=done", "--restart=Never")
    kubectl("run", "missing", "--image=absent")
    until(lambda: re.search(r"^crasher +0/1 +CrashLoopBackOff +[1-9]", kubectl("get", "pods"), re.MULTILINE))
    until(lambda: re.search(r"^ender +0/1 +Completed", kubectl("get", "pods"), re.MULTILINE))
    until(lambda: re.search(r"^missing +0/1 +(ErrImagePull|ImagePullBackOff)", kubectl("get", "pods"), re.MULTILINE))
    like(kubectl("logs", "crasher", "--previous"), r"line 5$")
    like(kubectl("logs", "missing", fails=True), r'container "missing" in pod "missing" is waiting to start')
    like(kubectl("describe", "pod", "crasher"), r"Reason: +CrashLoopBackOff", r"Exit Code: +1", r"Back-off restarting failed container crasher in pod")
    kubectl("delete", "pod", "crasher", "ender", "missing", "talker", "--grace-period=1")


@check("create, expose, label, annotate, edit, replace")
def _():
    kubectl("create", "configmap", "settings", "--from-literal=colour=red")
    like(kubectl("create", "configmap", "settings", "--from-literal=colour=red", fails=True), r'configmaps "settings" already exists')
    kubectl("create", "secret", "generic", "credentials", "--from-literal=password=secret")
    assert get("secret", "credentials")["data"] == {"password": "c2VjcmV0"}
    kubectl("create", "deployment", "other", "--image=sleep")
    like(kubectl("expose", "deployment", "other", "--port=80"), r"service/other exposed")
    kubectl("label", "configmap", "settings", "tier=front")
    kubectl("annotate", "configmap", "settings", "note=kept")
    like(kubectl("get", "configmap", "-l", "tier=front", "--show-labels"), r"^settings +1 +\S+ +tier=front$")
    os.environ["KUBE_EDITOR"] = "sed -i s/red/green/"
    like(kubectl("edit", "configmap", "settings"), r"configmap/settings edited")
    live = get("configmap", "settings")
    assert live["data"]["colour"] == "green" and live["metadata"]["annotations"]["note"] == "kept"
    live["data"]["colour"] = "blue"
    kubectl("replace", "-f", "-", stdin=json.dumps(live))
    like(kubectl("replace", "-f", "-", stdin=json.dumps(live), fails=True), r"the object has been modified")
    kubectl("delete", "deployment,service", "other")


@check("the three patches")
def _():
    kubectl("patch", "configmap", "settings", "--type=json", "-p", '[{"op":"add","path":"/data/size","value":"xl"}]')
    kubectl("patch", "configmap", "settings", "--type=merge", "-p", '{"data":{"colour":null}}')
    assert get("configmap", "settings")["data"] == {"size": "xl"}
    change = '{"spec":{"template":{"spec":{"containers":[{"name":"app","tty":true},{"name":"side","image":"sleep"}]}}}}'
    kubectl("patch", "deployment", "web", "-p", change)
    containers = get("deployment", "web")["spec"]["template"]["spec"]["containers"]
    by_name = {container["name"]: container for container in containers}
    assert set(by_name) == {"app", "side"} and by_name["app"]["tty"] and by_name["app"]["image"] == "sleep"
    kubectl("patch", "deployment", "web", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}')
    like(kubectl("patch", "configmap", "settings", "--type=json", "-p", '[{"op":"test","path":"/data/size","value":"s"}]', fails=True), r"error|invalid")


@check("server-side apply: owners, conflicts, taking over")
def _():
    mine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {a: '%s', b: '1'}\n"
    apply = ("apply", "--server-side", "-f", "-")
    like(kubectl(*apply, "--field-manager=one", stdin=mine % 1), r"configmap/shared serverside-applied")
    like(kubectl(*apply, "--field-manager=two", stdin=mine % 2, fails=True), r'Apply failed with 1 conflict: conflict with "one".*: \.data\.a')
    kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=mine % 2)
    assert get("configmap", "shared")["data"]["a"] == "2"
    without = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\n"
    kubectl(*apply, "--field-manager=two", stdin=without)
    assert get("configmap", "shared")["data"] == {"b": "1"}, "what nobody owns any more is gone"


@check("manifests are validated")
def _():
    typo = WEB.replace("replicas:", "replicaz:").replace("name: web", "name: typo", 1)
    like(kubectl("apply", "-f", "-", stdin=typo, fails=True), r'unknown field "(spec\.)?replicaz"')
    wrong = WEB.replace("matchLabels: {app: web}", "matchLabels: {app: api}").replace("name: web", "name: wrong", 1)
    like(kubectl("apply", "-f", "-", stdin=wrong, fails=True), r"`selector` does not match template `labels`")
    like(kubectl("create", "configmap", "Upper", fails=True), r"a lowercase RFC 1123 subdomain must consist of")
    like(kubectl("create", "--dry-run=server", "configmap", "dry"), r"configmap/dry created \(server dry run\)")
    like(kubectl("get", "configmap", "dry", fails=True), r'configmaps "dry" not found')
    like(kubectl("explain", "deployment.spec.strategy"), r"rollingUpdate")


@check("diff shows what would change")
def _():
    changed = WEB.replace("value: hello", "value: ciao")
    done = subprocess.run([KUBECTL, "-n", SPACE, "diff", "-f", "-"], input=changed, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    like(done.stdout, r"^\+ +- +?value: ciao|^\+ +value: ciao")


@check("watches tell what comes, changes and goes")
def _():
    watcher = subprocess.Popen(
        [KUBECTL, "-n", SPACE, "get", "configmaps", "-w", "--output-watch-events", "-l", "watched=yes"], stdout=subprocess.PIPE, text=True
    )
    try:
        kubectl("create", "configmap", "seen", "--from-literal=a=1")
        kubectl("label", "configmap", "seen", "watched=yes")
        kubectl("patch", "configmap", "seen", "--type=merge", "-p", '{"data":{"b":"2"}}')
        kubectl("delete", "configmap", "seen")
        events = []
        while "DELETED" not in events:
            line = watcher.stdout.readline()
            assert line, "the watch ended"
            events.append(line.split()[0])
        assert [event for event in events if event != "EVENT"] == ["ADDED", "MODIFIED", "DELETED"], events
    finally:
        watcher.kill()
        watcher.wait()


@check("deletion: grace, force, finalizers, propagation")
def _():
    kubectl("run", "leaving", "--image=sleep")
    kubectl("wait", "--for=condition=Ready", "pod/leaving", "--timeout=30s")
    kubectl("delete", "pod", "leaving", "--grace-period=1")
    kubectl("run", "forced", "--image=sleep")
    like(kubectl("delete", "pod", "forced", "--grace-period=0", "--force"), r"force deleted")
    held = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}\n"
    kubectl("apply", "-f", "-", stdin=held)
    kubectl("delete", "configmap", "held", "--wait=false")
    assert "deletionTimestamp" in get("configmap", "held")["metadata"]
    kubectl("patch", "configmap", "held", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
    like(kubectl("get", "configmap", "held", fails=True), r"not found")
    kubectl("delete", "deployment", "web", "--cascade=orphan")
    assert get("replicasets", "-l", "app=web")["items"]
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("delete", "deployment", "web", *(["--cascade=foreground"] if MINOR >= 20 else []))
    until(lambda: not get("pods", "-l", "app=web")["items"])
    assert not get("replicasets", "-l", "app=web")["items"]


@check("access: roles, tokens, impersonation")
def _():
    kubectl("create", "serviceaccount", "reader")
    kubectl("create", "role", "reading", "--verb=get,list", "--resource=configmaps")
    kubectl("create", "rolebinding", "reading", "--role=reading", f"--serviceaccount={SPACE}:reader")
    like(kubectl("auth", "can-i", "create", "pods"), r"^yes")
    as_reader = f"--as=system:serviceaccount:{SPACE}:reader"
    kubectl("get", "configmaps", as_reader)
    like(kubectl("get", "pods", as_reader, fails=True), r'cannot list resource "pods" in API group "" in the namespace')
    if MINOR >= 24:
        like(kubectl("create", "token", "reader"), r"^[\w-]+\.[\w-]+\.[\w-]+$")


@check("a node is cordoned, drained and used again")
def _():
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    node = get("pods", "-l", "app=web")["items"][0]["spec"]["nodeName"]
    try:
        like(kubectl("drain", node, "--ignore-daemonsets", "--pod-selector=app=web", "--timeout=60s"), r"drained|evicted|deleted")
        like(kubectl("get", "node", node), r"Ready,SchedulingDisabled")
        kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        assert all(pod["spec"]["nodeName"] != node for pod in get("pods", "-l", "app=web")["items"])
    finally:
        kubectl("uncordon", node)


@check("what is not there says so")
def _():
    like(kubectl("get", "teapots", fails=True), r'the server doesn\'t have a resource type "teapots"')
    like(kubectl("get", "pod", "nobody", fails=True), r'pods "nobody" not found')
    pod = get("pods", "-l", "app=web")["items"][0]["metadata"]["name"]
    like(kubectl("exec", pod, "--", "true", fails=True), r"not implemented by this server")


@check("a namespace goes with everything in it")
def _():
    kubectl("delete", "namespace", SPACE, "--timeout=60s", seconds=90)
    like(kubectl("get", "namespace", SPACE, fails=True), r"not found")
    like(kubectl("get", "pods"), r"No resources found")


end()
