// Package admin shows what runs and how it goes: probes, metrics, JSON of rules,
// secrets' states and recent decisions, and the one thing it can change, a reload.
//
// It owns the HTTP surface of the admin and health listeners and who may use it, and
// the metrics. It must not know secrets' values: it imports no package that holds any
// (a test holds that), and sees the application only through [State].
//
// Handlers and [Metrics] are safe for concurrent use. Recording an event takes no
// lock once the series it counts in exist.
package admin
