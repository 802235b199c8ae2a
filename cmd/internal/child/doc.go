// Package child runs one command as if it had been started in our place: it gets our standard streams,
// our terminal and the signals that we get, and how it ends is how we should.
//
// The command stays in our process group, as that of env or nice does. So the terminal's signals (Ctrl-C,
// Ctrl-Z, a change of size) reach it from the kernel, a pipeline that we are part of works, and the shell's job
// control needs nothing from us but this: when the command alone stops, we stop too. Signals sent to us
// alone are passed on. If we die, it is killed where the system can do that (Linux, Windows).
//
// It must not know what the command is run for, and it does not ask for signals: who uses it does, and passes
// them in.
//
// Concurrency: [Command.Run] returns when the command has ended and everything it started has too.
package child
