package signin

// Digest is how a browser is bound to what it began.
func Digest(s string) string { return digest(s) }
