// Package stream owns the masking of known values in what streams past: every
// byte of a value, in any of the forms that encoders give it, is overwritten
// with '*', so that lengths, ranges and frames stay true.
//
// [Compile] makes [Patterns] from the values, once per version of a secret.
// [Patterns.MaskHeader] is for headers and trailers, [Scrubber] for bodies,
// [GRPC] and [WebSocket] for framed messages, [Writer] puts any of these three
// before an io.Writer and releases what is held back after silence, and
// [Decode] undoes content codings with bounded memory.
//
// # What is found
//
// A value is found literally; as base64 or base64url at any of the three
// alignments; as hex in either case; with spaces as '+' (forms); and with each
// byte read as Latin-1 (which servers do to headers that are not ASCII). In
// each of these any characters, none or all, may be escaped in one of three
// schemes: percent (%2f, %2F); backslash (\/, \", \u002f, \x2f, surrogate
// pairs); HTML (&amp; &lt; &gt; &quot; &apos; &#39; &#039; &#x27;). Escapes are
// decoded where they stand, so it does not matter which characters an encoder
// chose to escape.
//
// At the ends of a base64 form up to three of a value's bits on either side may
// share a character with what stands next to it: such a character is left as it
// is, and tells at most 4 bits.
//
// # What is not found
//
// Parts of a value; other encodings (base32, UTF-16, case changes, encodings
// wrapped in lines); two schemes in one value or a scheme twice; values spread
// over messages or by more than [Silence] in time.
//
// # What is held back
//
// A value can be recognised only when all of it is there. Every byte that may
// belong to a value whose end has not come is therefore held back: those since
// the last control byte (values with control bytes are refused by [Compile],
// and no form contains one), at most [Patterns.Longest] − 1. Whether they look
// like the beginning of a value must not matter: otherwise a client who can
// make the upstream echo guesses learns from the delay which guess was right,
// one character at a time, and a message that ends in the first byte of a value
// behaves unlike all others. What is held goes at the end of a message or of
// the stream, and after [Silence].
//
// The package is a leaf: it imports nothing of Attaché and knows no secrets'
// names, rules or requests.
//
// [Patterns] are immutable and shared. A [Scrubber], [GRPC] or [WebSocket]
// belongs to one stream and one goroutine; a [Writer] may be used by several.
package stream
