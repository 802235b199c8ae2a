package policy

import "slices"

// view is a Request while it is decided on, with what is found out once.
type view struct {
	*Request
	path       string
	plainPath  tristate
	plainQuery tristate
}

type tristate uint8

const (
	unknown tristate = iota
	yes
	no
)

func known(b bool) tristate {
	if b {
		return yes
	}
	return no
}

func newView(r *Request) view {
	v := view{Request: r, path: r.Path}
	if v.path == "" {
		v.path = "/" // RFC 9110 §4.2.3: they are equivalent
	}
	return v
}

// meets compares one rule that names the host with a request. differs is the
// first criterion that does not match, None where all do. unclear is set where
// differs cannot be compared beyond doubt; that is looked at even where an
// earlier criterion differs, since the doubt is about what the request is.
func (ru *rule) meets(v *view) (differs Criterion, unclear bool, caller string) {
	query := ru.meetQuery(v)
	if query == Unclear {
		return Query, true, ""
	}
	if !ru.pathIsClear(v) {
		return Path, true, ""
	}
	switch {
	case query == No:
		return Query, false, ""
	case ru.meetMethod(v) == No:
		return Method, false, ""
	case ru.meetPath(v) == No:
		return Path, false, ""
	}
	answer, caller := ru.meetCaller(v.Callers)
	if answer == No {
		return Caller, false, ""
	}
	return None, false, caller
}

func (ru *rule) meetHost(scheme, host string, port uint16) Answer {
	for _, h := range ru.hosts {
		if h.matches(scheme, host, port) {
			return Yes
		}
	}
	return No
}

func (ru *rule) meetQuery(v *view) Answer {
	if len(ru.query) == 0 {
		return Any
	}
	if v.plainQuery == unknown {
		v.plainQuery = known(isPlainQuery(v.RawQuery))
	}
	if v.plainQuery == no {
		return Unclear
	}
	answer := Yes
	for _, p := range ru.query {
		switch p.meet(v.RawQuery) {
		case Unclear:
			return Unclear
		case No:
			answer = No
		}
	}
	return answer
}

func (ru *rule) meetMethod(v *view) Answer {
	if len(ru.methods) == 0 {
		return Any
	}
	return answerOf(slices.Contains(ru.methods, v.Method))
}

// pathIsClear is true of a rule that does not restrict paths.
func (ru *rule) pathIsClear(v *view) bool {
	if len(ru.paths) == 0 {
		return true
	}
	if v.plainPath == unknown {
		v.plainPath = known(isPlainPath(v.path))
	}
	return v.plainPath == yes
}

func (ru *rule) meetPath(v *view) Answer {
	if len(ru.paths) == 0 {
		return Any
	}
	if !ru.pathIsClear(v) {
		return Unclear
	}
	for _, p := range ru.paths {
		if p.matches(v.path) {
			return Yes
		}
	}
	return No
}

// meetCaller also tells the first of the rule's callers that is among callers.
func (ru *rule) meetCaller(callers []string) (Answer, string) {
	if len(ru.callers) == 0 {
		return Any, ""
	}
	for _, name := range ru.callers {
		if slices.Contains(callers, name) {
			return Yes, name
		}
	}
	return No, ""
}

func answerOf(b bool) Answer {
	if b {
		return Yes
	}
	return No
}
