// Package mint keeps tokens that expire current, so that requests find them
// ready: each is fetched by one goroutine, ahead of need, and renewed at half its life.
//
// It owns the last good version of each token, the one before it, and the
// waits between fetches. It must not know how a token is fetched, what it is
// presented on, or who asks for it: it is given functions, and gives entries for a [secret.Set].
//
// A [Cache] is safe for concurrent use. It calls back from its goroutines, and
// holds no lock meanwhile. Close waits for them.
package mint
