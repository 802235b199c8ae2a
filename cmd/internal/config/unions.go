package config

// The keys whose values take several forms read themselves.

// attachSpec is what a rule attaches, in order.
type attachSpec struct {
	items []attachment
}

// attachment is one credential: the name of one, or one written in place.
type attachment struct {
	node *node
	name string
	kind chosen
}

func (a *attachSpec) decodeNode(d *decoder, n *node, at *trail) {
	if n.shape != list {
		a.add(d, n, at)
		return
	}
	for i, item := range n.items {
		a.add(d, item, at.element(i))
	}
}

func (a *attachSpec) add(d *decoder, n *node, at *trail) {
	item := attachment{node: n}
	switch n.shape {
	case text:
		item.name = n.text
	case dict:
		var c credentialSpec
		d.decodeStruct(n, &c, at)
		item.kind = c.Kind
	default:
		d.fail(n, "as in {bearer: stripe-key}", "%s: must be the name of a credential, or one written in place", at)
		return
	}
	a.items = append(a.items, item)
}

// denySpec is true, or the hint for the caller.
type denySpec struct {
	deny bool
	hint string
}

func (s *denySpec) decodeNode(d *decoder, n *node, at *trail) {
	switch {
	case n.shape == boolean:
		s.deny = n.text == "true"
	case n.shape == text && n.text != "":
		s.deny, s.hint = true, n.text
	default:
		d.fail(n, "", "%s: must be true, or a hint for the caller", at)
	}
}

func (s *denySpec) set() bool { return s != nil && s.deny }

// scrubSpec says where a rule's credentials are masked: all, headers, or false.
type scrubSpec struct {
	extent string // as Rule.Scrub
}

func (s *scrubSpec) decodeNode(d *decoder, n *node, at *trail) {
	switch {
	case n.shape == boolean && n.text == "false":
		s.extent = "off"
	case n.shape == text && (n.text == "all" || n.text == "headers"):
		s.extent = n.text
	default:
		d.fail(n, "", "%s: must be all, headers or false", at)
	}
}

func (u *unmatchedSpec) decodeNode(d *decoder, n *node, at *trail) {
	if n.shape == text && n.text == "deny" {
		u.Node = n
		return
	}
	if n.shape != dict {
		d.fail(n, "", "%s: must be deny, or {observe_until: …}", at)
		return
	}
	type plain unmatchedSpec // without this method
	var p plain
	d.decodeStruct(n, &p, at)
	*u = unmatchedSpec(p)
	if u.Until == nil && !n.faulty() {
		to := at.to("observe_until")
		d.fail(n, "", "%s: missing", to)
	}
}
