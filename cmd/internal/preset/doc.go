// Package preset knows the APIs that people use most: their hosts, how they want their key presented, and
// the least that an application needs there. attache init writes configurations from it.
//
// It owns the table of presets, what in a project shows that it uses one, and the text of a new
// configuration. It must not read the value of a secret: of a file of variables it keeps the names only. It
// contacts nothing, and writes nothing itself.
//
// Concurrency: none; the table is made anew for each who asks.
package preset
