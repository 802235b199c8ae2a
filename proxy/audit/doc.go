// Package audit tells what was decided and done: one [Event] per call, and one
// per change of a secret, the configuration, the CA or the process.
//
// It owns the Event, its JSON form, the log file and the ring of recent events.
// It must not know requests, rules, or secrets' values: an Event has no field that
// could hold a header, a body, a query string or a secret, and a test walks its
// type to hold that.
//
// Every [Sink] is safe for concurrent use, does not keep the Event it is given,
// and does not block on I/O: the [Log] queues lines for one writing goroutine.
package audit
