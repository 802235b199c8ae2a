// Package explain tells what a configuration makes of one call, and why.
//
// It owns the account that `attache explain` and the admin API give: outcome,
// deciding or nearest rule, what is attached and removed, how the rules met the
// call. It decides nothing by itself but asks [config.Decide], as the proxy does.
// It must not know secrets' values, listeners or how its accounts are printed.
//
// Functions are safe for concurrent use; the configuration is only read.
package explain
