package audit

// Recent keeps the last events in memory for the admin API: refusals apart
// from the rest, so that a busy proxy does not push them out.
type Recent struct{}

// NewRecent keeps n of each.
func NewRecent(n int) *Recent { panic("unbuilt") }

// Record implements Sink.
func (r *Recent) Record(e *Event) { panic("unbuilt") }

// Refusals and All return copies, newest first.
func (r *Recent) Refusals() []Event { panic("unbuilt") }

// All returns the last events of every decision, newest first.
func (r *Recent) All() []Event { panic("unbuilt") }
