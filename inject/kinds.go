package inject

// Kinds returns every kind of credential, in the order of the documentation.
func Kinds() []Kind {
	return []Kind{
		bearerKind(),
		headerKind(),
		basicKind(),
		queryKind(),
		cookieKind(),
		sigv4Kind(),
		hmacKind(),
		jwtSVIDKind(),
	}
}
