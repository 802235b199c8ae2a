package watcher

import (
	"errors"
	"io/fs"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

// settle takes in an outcome and returns the Result to report, "" for none.
func (k *kept) settle(o outcome, now time.Time) string {
	if o.look != 0 && o.look <= k.taken {
		return "" // a later look was quicker
	}
	k.taken = max(k.taken, o.look)
	if k.state == Init {
		k.state = Loading
	}
	k.phase = ""
	if k.held(&o, now) {
		if !k.current.IsZero() {
			k.phase = Settling
		}
		return ""
	}
	result := ""
	if o.err == nil {
		result = k.accept(o, now)
	} else {
		result = k.refuse(o.err, now)
	}
	if withdrawn := k.judge(now); withdrawn != "" {
		return withdrawn
	}
	return result
}

// held reports whether the outcome says no more than that a writer is at work,
// for which there is time.
func (k *kept) held(o *outcome, now time.Time) bool {
	_, writing := errors.AsType[*source.UnsettledError](o.err)
	_, empty := errors.AsType[emptyError](o.err)
	mark(&k.writing, writing, now)
	mark(&k.empty, empty && !k.current.IsZero(), now)
	switch {
	case writing && now.Before(k.writing.Add(writeHold)):
		k.next = now.Add(writeLook)
		if k.current.IsZero() {
			k.reason = o.err.Error()
		}
		return true
	case writing && o.text != nil: // a writer that never closes the file does not stop rotation
		o.err = nil
	case !k.empty.IsZero() && now.Before(k.empty.Add(emptyHold)):
		// Whoever writes in place empties the file first.
		k.next = k.empty.Add(emptyHold)
		return true
	}
	return false
}

// mark notes when something began, or that it is over.
func mark(since *time.Time, holds bool, now time.Time) {
	if !holds {
		*since = time.Time{}
	} else if since.IsZero() {
		*since = now
	}
}

// refuse takes in an error.
func (k *kept) refuse(err error, now time.Time) string {
	_, invalid := errors.AsType[*invalidError](err)
	mark(&k.invalid, invalid, now)
	mark(&k.deleted, errors.Is(err, fs.ErrNotExist), now)
	mark(&k.staleSince, true, now)
	switch {
	case !k.current.IsZero():
		k.state, k.reason = Stale, err.Error()
	case k.state == Loading:
		k.reason = err.Error()
	}
	k.next = now.Add(min(firstRetry<<min(k.fails, 12), k.interval()))
	k.fails++
	return "error"
}

// accept takes in usable content.
func (k *kept) accept(o outcome, now time.Time) string {
	was := k.state
	pinned := pinnedBy(o.troubles)
	mark(&k.pinned, pinned != "", now)
	again := k.current.IsZero() && k.previous.Generation() == k.generation && k.previous.Reveal() == string(o.text) && k.generation > 0
	k.next = k.renewal(o.expires, now)
	if pinned != "" && again && was == Expired {
		return "" // the same bytes will always be there: they confirm nothing
	}
	k.fails, k.staleSince, k.invalid, k.deleted = 0, time.Time{}, time.Time{}, time.Time{}
	k.state, k.reason, k.lastSuccess = Ready, "", now
	result := ""
	switch {
	case !k.current.IsZero() && k.current.Reveal() == string(o.text):
		if was != Ready {
			result = "unchanged"
		}
	case again:
		// What was withdrawn is good again: the same version.
		k.current, k.previous = k.previous, secret.Value{}
		result = "unchanged"
	default:
		if !k.current.IsZero() {
			k.previous = k.current
		}
		k.generation++
		k.since = now
		k.current = secret.NewExpiring(k.spec.Name, k.generation, now, o.expires, o.text)
		if k.polled && k.generation > 1 {
			k.unannounced = now
			k.next = earlier(k.next, now.Add(missedAfter))
		}
		result = "rotated"
	}
	if pinned != "" { // it can be read, and will never be another
		k.state, k.reason, k.staleSince = Stale, pinned, k.pinned
		switch {
		case was == Stale && result == "unchanged":
			result = ""
		case was == Ready && result == "":
			result = "error"
		}
	}
	return result
}

// renewal is when to look again after a good look: early enough before what
// was read expires.
func (k *kept) renewal(expires, now time.Time) time.Time {
	next := now.Add(k.interval())
	if at := expires.Add(-renewBefore); !expires.IsZero() && at.After(now) && at.Before(next) {
		return at
	}
	return next
}

// deadline is when the current version must be withdrawn if nothing changes,
// zero if never.
func (k *kept) deadline() time.Time {
	if k.current.IsZero() {
		return time.Time{}
	}
	end := k.current.Expires()
	add := func(since time.Time, after time.Duration) {
		if !since.IsZero() {
			end = earlier(end, since.Add(after))
		}
	}
	add(k.staleSince, k.maxStale())
	if k.spec.OnInvalid == Withdraw {
		add(k.invalid, invalidHold)
	}
	if k.spec.OnDeleted == Withdraw {
		add(k.deleted, deletedHold)
	}
	return end
}

// judge withdraws a version whose time has come, and returns the Result to
// report. The clock is the wall's: it may have jumped.
func (k *kept) judge(now time.Time) string {
	end := k.deadline()
	if end.IsZero() || now.Before(end) {
		return ""
	}
	past := func(since time.Time, after time.Duration) bool {
		return !since.IsZero() && !now.Before(since.Add(after))
	}
	switch {
	case k.current.Expired():
		k.state, k.reason = Expired, "expired"
	case k.spec.OnInvalid == Withdraw && past(k.invalid, invalidHold):
		k.state, k.reason = Revoked, "replaced by invalid content: "+k.reason
	case k.spec.OnDeleted == Withdraw && past(k.deleted, deletedHold):
		k.state, k.reason = Revoked, "deleted: "+k.reason
	default:
		k.state, k.reason = Expired, "could not be confirmed for "+k.maxStale().String()+": "+k.reason
	}
	k.previous, k.current = k.current, secret.Value{} // answers may still hold it
	k.next = earlier(k.next, now.Add(firstRetry))
	if k.state == Expired {
		return "expired"
	}
	return "revoked"
}

// pinnedBy is what keeps a file from ever being another, "" if nothing does.
func pinnedBy(troubles []source.Trouble) string {
	for _, t := range troubles {
		if t.Code == source.PinnedInode {
			return t.String()
		}
	}
	return ""
}
