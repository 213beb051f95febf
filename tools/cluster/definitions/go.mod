// Modules whose YAML files define resources that are not part of Kubernetes. Nothing is compiled.
module thingspace.example/cluster/definitions

go 1.24.0

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.3.0
)
