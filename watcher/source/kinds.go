package source

// Kinds returns every kind of source, in the order of the documentation.
func Kinds() []Kind {
	return []Kind{
		fileKind(),
		filesKind(),
		envKind(),
		credentialKind(),
		execKind(),
		mockKind(),
	}
}
