"""The official Kubernetes client of Python, as an operator or a test suite uses it."""

import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

from harness.check import check, end, equal, eventually

config.load_kube_config()
core, apps, version = client.CoreV1Api(), client.AppsV1Api(), client.VersionApi()
SPACE = "smoke"


def name(text: str) -> str:
    return f"kubernetes-python: {text}"


def status_of(function, *arguments, **options) -> int:
    try:
        function(*arguments, **options)
    except ApiException as error:
        return error.status
    return 200


def config_map(called: str, **data) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=called, labels={"app": "smoke"}), data=data)


def deployment(replicas: int) -> client.V1Deployment:
    container = client.V1Container(name="echo", image="echo", ports=[client.V1ContainerPort(container_port=8080)])
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"app": "echo"}), spec=client.V1PodSpec(containers=[container]))
    spec = client.V1DeploymentSpec(replicas=replicas, selector=client.V1LabelSelector(match_labels={"app": "echo"}), template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name="echo"), spec=spec)


def pods() -> list:
    return core.list_namespaced_pod(SPACE, label_selector="app=echo").items


@check(name("version and discovery"))
def _():
    assert version.get_code().git_version.startswith("v1."), version.get_code()
    assert "v1" in client.CoreApi().get_api_versions().versions
    assert any(group.name == "apps" for group in client.ApisApi().get_api_versions().groups)


@check(name("three nodes that are ready"))
def _():
    nodes = core.list_node().items
    equal(len(nodes), 3)
    for node in nodes:
        ready = [condition.status for condition in node.status.conditions if condition.type == "Ready"]
        equal(ready, ["True"])


@check(name("a namespace is created"))
def _():
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=SPACE)))
    eventually(lambda: core.read_namespace(SPACE).status.phase == "Active")
    equal(status_of(core.create_namespace, client.V1Namespace(metadata=client.V1ObjectMeta(name=SPACE))), 409)


@check(name("create, read, replace, patch and delete"))
def _():
    made = core.create_namespaced_config_map(SPACE, config_map("settings", a="1"))
    assert made.metadata.uid and made.metadata.resource_version
    made.data["a"] = "2"
    replaced = core.replace_namespaced_config_map("settings", SPACE, made)
    equal(status_of(core.replace_namespaced_config_map, "settings", SPACE, made), 409)
    patched = core.patch_namespaced_config_map("settings", SPACE, {"data": {"b": "3"}})
    equal(patched.data, {"a": "2", "b": "3"})
    assert int(patched.metadata.resource_version) > int(replaced.metadata.resource_version)
    core.delete_namespaced_config_map("settings", SPACE)
    equal(status_of(core.read_namespaced_config_map, "settings", SPACE), 404)


@check(name("label selectors, field selectors and pages"))
def _():
    for number in range(5):
        core.create_namespaced_config_map(SPACE, config_map(f"page-{number}", n=str(number)))
    equal(len(core.list_namespaced_config_map(SPACE, label_selector="app=smoke").items), 5)
    equal(len(core.list_namespaced_config_map(SPACE, label_selector="app!=smoke,app").items), 0)
    equal([entry.metadata.name for entry in core.list_namespaced_config_map(SPACE, field_selector="metadata.name=page-3").items], ["page-3"])
    first = core.list_namespaced_config_map(SPACE, label_selector="app=smoke", limit=2)
    rest = core.list_namespaced_config_map(SPACE, label_selector="app=smoke", limit=10, _continue=first.metadata._continue)
    equal((len(first.items), len(rest.items)), (2, 3))


@check(name("what is invalid is refused"))
def _():
    equal(status_of(core.create_namespaced_config_map, SPACE, config_map("Bad_Name")), 422)
    equal(status_of(core.create_namespaced_config_map, "nowhere", config_map("x")), 404)
    wrong = deployment(1)
    wrong.spec.selector.match_labels = {"app": "other"}
    equal(status_of(apps.create_namespaced_deployment, SPACE, wrong), 422)


@check(name("a watch tells of what happens"))
def _():
    seen, started = [], core.list_namespaced_config_map(SPACE).metadata.resource_version

    def follow():
        for event in watch.Watch().stream(core.list_namespaced_config_map, SPACE, resource_version=started, timeout_seconds=20):
            if event["object"].metadata.name == "watched":
                seen.append(event["type"])
                if event["type"] == "DELETED":
                    return

    follower = threading.Thread(target=follow)
    follower.start()
    core.create_namespaced_config_map(SPACE, config_map("watched", a="1"))
    core.patch_namespaced_config_map("watched", SPACE, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("watched", SPACE)
    follower.join(25)
    equal(seen, ["ADDED", "MODIFIED", "DELETED"])


@check(name("a deployment runs its pods"))
def _():
    apps.create_namespaced_deployment(SPACE, deployment(2))
    eventually(lambda: (apps.read_namespaced_deployment_status("echo", SPACE).status.ready_replicas or 0) == 2, 40)
    equal({pod.status.phase for pod in pods()}, {"Running"})
    assert all(pod.status.pod_ip and pod.spec.node_name for pod in pods())


@check(name("logs of a pod"))
def _():
    text = core.read_namespaced_pod_log(pods()[0].metadata.name, SPACE)
    assert isinstance(text, str)


@check(name("scaling up and down"))
def _():
    apps.patch_namespaced_deployment_scale("echo", SPACE, {"spec": {"replicas": 3}})
    eventually(lambda: len([pod for pod in pods() if pod.status.phase == "Running"]) == 3, 40)
    apps.patch_namespaced_deployment_scale("echo", SPACE, {"spec": {"replicas": 1}})
    eventually(lambda: len(pods()) == 1, 40)


@check(name("a deleted pod is replaced"))
def _():
    old = pods()[0].metadata.name
    core.delete_namespaced_pod(old, SPACE)
    eventually(lambda: [pod for pod in pods() if pod.metadata.name != old and pod.status.phase == "Running"], 40)


@check(name("events tell of the pods"))
def _():
    reasons = {event.reason for event in core.list_namespaced_event(SPACE).items}
    assert {"Scheduled", "Started"} <= reasons, reasons


@check(name("deleting the deployment removes its pods"))
def _():
    apps.delete_namespaced_deployment("echo", SPACE)
    eventually(lambda: not pods(), 40)
    equal(apps.list_namespaced_replica_set(SPACE).items, [])


@check(name("deleting the namespace removes what is in it"))
def _():
    core.delete_namespace(SPACE)
    eventually(lambda: status_of(core.read_namespace, SPACE) == 404, 40)
    equal(core.list_namespaced_config_map(SPACE).items, [])


end()
