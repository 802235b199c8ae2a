package main

import (
	"strings"
	"time"

	"github.com/attache-proxy/attache/proxy/admin"
)

// hasSVID reports whether an identity can be used at a moment.
func hasSVID(id *admin.IdentityStatus, now time.Time) bool {
	return len(id.SVIDs) > 0 && now.Before(id.SVIDs[0].NotAfter)
}

// printIdentity tells who the proxy would be, and whom it would trust.
func (r checked) printIdentity(c *console, now time.Time) {
	const key = 11
	if r.Identity == nil {
		return
	}
	name := "identity"
	for _, svid := range r.Identity.SVIDs {
		text := svid.ID + ", " + renewal(svid, now)
		if svid.Hint != "" {
			text += ", hint " + svid.Hint
		}
		field(c.out, key, name, text)
		name = ""
	}
	var domains []string
	for _, b := range r.Identity.Bundles {
		text := b.TrustDomain
		if b.Federated {
			text += " (federated)"
		}
		domains = append(domains, text)
	}
	if len(domains) > 0 {
		field(c.out, key, "", "trusts "+strings.Join(domains, ", "))
	}
	for _, w := range r.Identity.Warnings {
		field(c.out, key, "", "warning: "+w)
	}
	if r.Identity.Problem != "" || name != "" {
		problem := r.Identity.Problem
		if problem == "" {
			problem = "no answer from " + r.Identity.Source
		}
		if name != "" {
			problem = "none: " + problem
		}
		field(c.out, key, name, problem)
	}
}

// renewal is when an SVID should be replaced: agents do so at half of its life.
func renewal(svid admin.SVIDStatus, now time.Time) string {
	half := svid.NotBefore.Add(svid.NotAfter.Sub(svid.NotBefore) / 2)
	switch {
	case now.Before(half):
		return "renews in " + ahead(half, now)
	case now.Before(svid.NotAfter):
		return "not renewed yet, expires in " + ahead(svid.NotAfter, now)
	default:
		return "expired"
	}
}

// ahead is how long after now t is, in one unit.
func ahead(t, now time.Time) string {
	return strings.TrimSuffix(ago(now.Add(now.Sub(t)), now), " ago")
}
