// Package kubernetes checks what is in deploy/kubernetes: it renders the charts
// with Helm's own library, reads every object strictly into the API's own types,
// judges pods by Pod Security's own rules and alerts by Prometheus' own engine.
//
// It is a module of its own, so that the product depends on none of these. It
// knows the product by its binary (ATTACHE_BINARY) and its documents alone.
package kubernetes
