//! The Kubernetes API, its controllers, scheduler and kubelets.
