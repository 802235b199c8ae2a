package config

import "fmt"

// trail says where in the document a node is: rules[2].hosts.
type trail struct {
	parent *trail
	key    string
	index  int
}

func (t *trail) String() string {
	switch {
	case t == nil:
		return ""
	case t.key == "" && t.parent != nil:
		return fmt.Sprintf("%s[%d]", t.parent, t.index)
	case t.parent == nil || t.parent.String() == "":
		return t.key
	}
	return t.parent.String() + "." + t.key
}

func (t *trail) to(key string) *trail {
	if !plainName(key) {
		key = "…" // may be a secret
	}
	return &trail{parent: t, key: key}
}
func (t *trail) element(i int) *trail { return &trail{parent: t, index: i} }
