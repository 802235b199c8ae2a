// Package inject owns how a credential is presented on a request: the
// [Injector] interface, the table of [Kinds] and one file for each of them.
// It also owns the comparison of names by which the proxy removes what a
// client sent in their place ([SameHeader], [StripQuery], [StripCookies]).
//
// It knows no sources, rules or listeners, and reads secrets only from the
// [secret.Set] it is handed. It never imports the watcher.
//
// Injectors are immutable but for a cache of what they rendered last, which is
// one atomic pointer, and may be used by many requests at once.
package inject
