"""Builds the programs of the cluster for tests from Go modules and prints the folders that have them.

Each folder here with a go.mod is one program. The result is cached for each user, by version and content of the folder.
The first build takes about 12 minutes on 2 cores, most of it for Kubernetes and for Pulumi's Kubernetes plugin.
Standard output has one line, the folders in the form of PATH. The log goes to standard error.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

from tools import go_build

HERE = Path(__file__).resolve().parent
KUBECONFIG_VARIABLE = "THINGSPACE_TEST_KUBECONFIG"  # names the configuration of an existing cluster
CACHE = go_build.cache_directory("cluster")
KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
DEFINITIONS = {  # of resources that are not part of Kubernetes
    "sigs.k8s.io/gateway-api": "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"
    ),
}
PLUGIN_MODULE = "github.com/pulumi/pulumi-kubernetes/provider/v4"


def read_pinned_version(folder: str, module: str) -> str:
    """Return the version of a module in the go.mod of a folder, without the v."""
    match = re.search(rf"{re.escape(module)} v(\S+)", (HERE / folder / "go.mod").read_text())
    if match is None:
        raise go_build.BuildFailed(f"{HERE / folder / 'go.mod'} does not pin {module}")
    return match.group(1)


def name_cache_folder(folder: str, version: str) -> Path:
    """Return where the cache has the program that this folder describes."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted((HERE / folder).iterdir()))).hexdigest()
    return CACHE / f"{folder}-{version}-{digest[:8]}"


def build_kubernetes() -> Path:
    """Build the binary of all programs of Kubernetes, with a link for each."""
    version = read_pinned_version("kubernetes", "k8s.io/kubernetes")
    major, minor, _ = version.split(".")
    stamp = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}

    def create(root: Path) -> None:
        values = {f"k8s.io/component-base/version.{name}": value for name, value in stamp.items()}
        go_build.compile_package(HERE / "kubernetes", ".", root / "bin" / "kubernetes", **values)
        for program in KUBERNETES_PROGRAMS:
            (root / "bin" / program).symlink_to("kubernetes")

    return go_build.cache_or_create(name_cache_folder("kubernetes", version), "kubernetes", create)


def build_pulumi_plugin() -> Path:
    """Build Pulumi's Kubernetes plugin, with the data files that it reads."""
    version = read_pinned_version("pulumi-kubernetes", "github.com/pulumi/pulumi-kubernetes/sdk/v4")

    def create(root: Path) -> None:
        values = {f"{PLUGIN_MODULE}/pkg/version.Version": version}
        go_build.compile_package(HERE / "pulumi-kubernetes", ".", root / "bin" / "pulumi-resource-kubernetes", **values)
        module = Path(
            go_build.run_go(HERE / "pulumi-kubernetes", "list", "-m", "-f", "{{.Dir}}", PLUGIN_MODULE).strip()
        )
        for name in ("schema.json", "terraform-mapping.json"):
            shutil.copyfile(module / "cmd" / "pulumi-resource-kubernetes" / name, root / "bin" / name)

    return go_build.cache_or_create(
        name_cache_folder("pulumi-kubernetes", version), "pulumi-resource-kubernetes", create
    )


def find_definitions() -> list[Path]:
    """Return the YAML files with the definitions of HTTPRoute and PodMonitor."""
    folder = HERE / "definitions"
    go_build.run_go(folder, "mod", "download", *DEFINITIONS)
    modules = {
        module: go_build.run_go(folder, "list", "-m", "-f", "{{.Dir}}", module).strip() for module in DEFINITIONS
    }
    return [Path(modules[module]) / file for module, file in DEFINITIONS.items()]


def build_program(name: str, version: str) -> Path:
    """Build a program that needs nothing beside it."""
    return go_build.cache_or_create(
        name_cache_folder(name, version),
        name,
        lambda root: go_build.compile_package(HERE / name, ".", root / "bin" / name),
    )


def build_all() -> str:
    """Build what is not cached and return the folders in the form of PATH. The tests have no network."""
    find_definitions()
    folders = [
        build_kubernetes(),
        build_program("coredns", read_pinned_version("coredns", "github.com/coredns/coredns")),
        build_program("pause", "1"),
        build_pulumi_plugin(),
    ]
    return os.pathsep.join(map(str, folders))


def main() -> int:
    """Print the folders of the programs."""
    try:
        print(build_all())
    except go_build.BuildFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
