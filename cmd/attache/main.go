// Command attache presents credentials on outgoing API calls, so that applications need not hold them.
//
// This package owns the command line, what people read in a terminal, and exit codes, one file per
// subcommand. It decides nothing, reads no secret and opens no listener by itself: package app does.
// Each command is one goroutine but for what serve and demo start, and wait for.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
