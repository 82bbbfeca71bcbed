package clients

import "github.com/munjigi/munjigi/internal/oauthserver"

// Freshness is freshness.
var Freshness = freshness //nolint:gochecknoglobals // for tests

// Read is read, as a client.
func Read(body []byte) (oauthserver.Client, error) {
	m, err := read(body, "")
	return m.client(oauthserver.Document), err
}
