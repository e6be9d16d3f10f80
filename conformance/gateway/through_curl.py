"""From a program on this machine through a LoadBalancer service into pods: balancing, bodies, keep-alive, failures."""

import os
import subprocess

from kubernetes import client, config

from harness.check import check, end, equal, eventually

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
HOSTS = [node.split(":")[0] for node in os.environ["REDIS_NODES"].split(",")]
PORT = 18080


def name(text: str) -> str:
    return f"gateway: {text}"


def curl(path: str, *options: str, host: str = HOSTS[0]) -> str:
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *options, f"http://{host}:{PORT}{path}"], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"curl ended with {done.returncode}: {done.stderr}")
    return done.stdout


def deploy(replicas: int) -> None:
    port = client.V1ContainerPort(container_port=8080)
    probe = client.V1Probe(http_get=client.V1HTTPGetAction(path="/ready", port=8080), period_seconds=1)
    container = client.V1Container(name="web", image="web", ports=[port], readiness_probe=probe)
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"app": "web"}), spec=client.V1PodSpec(containers=[container]))
    spec = client.V1DeploymentSpec(replicas=replicas, selector=client.V1LabelSelector(match_labels={"app": "web"}), template=template)
    apps.create_namespaced_deployment("default", client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec))
    ports = [client.V1ServicePort(port=PORT, target_port=8080)]
    service = client.V1ServiceSpec(type="LoadBalancer", selector={"app": "web"}, ports=ports)
    core.create_namespaced_service("default", client.V1Service(metadata=client.V1ObjectMeta(name="web"), spec=service))


def pods() -> list[str]:
    return [pod.metadata.name for pod in core.list_namespaced_pod("default", label_selector="app=web").items]


@check(name("a LoadBalancer service gets an address and answers"))
def _():
    deploy(3)
    eventually(lambda: (apps.read_namespaced_deployment_status("web", "default").status.ready_replicas or 0) == 3, 40)
    eventually(lambda: core.read_namespaced_service("web", "default").status.load_balancer.ingress)
    assert "/hello" in curl("/hello")


@check(name("every node's address leads to the service"))
def _():
    for host in HOSTS:
        assert "/there" in curl("/there", host=host), host


@check(name("connections are spread over the pods"))
def _():
    eventually(lambda: {curl("/who").split()[0] for _ in range(30)} == set(pods()))


@check(name("headers and status pass through"))
def _():
    assert curl("/h", "-H", "X-Test: there").strip().endswith("there")
    equal(curl("/missing", "-o", "/dev/null", "-w", "%{http_code}"), "404")


@check(name("bodies pass in both directions"))
def _():
    text = "0123456789" * 100_000
    path = os.path.join(os.environ["SCRATCH"], "body")
    with open(path, "w") as file:
        file.write(text)
    equal(curl("/echo", "--data-binary", f"@{path}") == text, True)
    equal(len(curl("/bytes/5000000")), 5_000_000)


@check(name("one connection carries several requests"))
def _():
    url = f"http://{HOSTS[0]}:{PORT}/again"
    done = subprocess.run(["curl", "-sS", "-w", "%{num_connects}\n", "-o", "/dev/null", url, "-o", "/dev/null", url], capture_output=True, text=True)
    equal(done.stdout.split(), ["1", "0"])


@check(name("a service without pods refuses"))
def _():
    apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 0}})
    eventually(lambda: not pods(), 40)
    done = subprocess.run(["curl", "-sS", "--max-time", "10", f"http://{HOSTS[0]}:{PORT}/"], capture_output=True, text=True)
    assert done.returncode in (7, 52, 56), f"curl ended with {done.returncode}"


@check(name("a deleted service stops answering"))
def _():
    core.delete_namespaced_service("web", "default")

    def is_refused():
        return subprocess.run(["curl", "-s", "--max-time", "5", f"http://{HOSTS[0]}:{PORT}/"], capture_output=True).returncode == 7

    eventually(is_refused)


end()
