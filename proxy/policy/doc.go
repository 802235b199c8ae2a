// Package policy owns the rules and the decisions: which caller may make which
// call. It is pure: no I/O, no clock, no secrets, no credentials, and it logs
// nothing. It must not know the proxy, the injectors, the sources or identity
// beyond the names of callers.
//
// Two ideas hold it together. Criteria that do not match fall through to the
// next rule; a call that cannot be compared with a rule beyond doubt (a path or
// query that the upstream may read differently) is refused at once, since a
// rule that is passed over by a spelling is no rule. And every reader of the
// rules, [Policy.Decide], [Policy.Explain] and [Policy.DecideConnect], uses the
// same comparisons.
//
// Concurrency: a [Policy] is immutable once [New] returns, and all of its
// methods may be called by many goroutines at once.
package policy
