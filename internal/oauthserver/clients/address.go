package clients

import (
	"errors"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

// CheckID holds a client_id against the form of a document's URL
// (draft-ietf-oauth-client-id-metadata-document 3): https, a host and a path, in
// the one spelling that no reader resolves to another, so that equal means the
// same and different means another client.
func CheckID(id string) (*url.URL, error) {
	if len(id) > maxID {
		return nil, errors.New("the client_id is too long for a document's URL")
	}
	u, err := egress.CheckURL(id, egress.Rules{})
	if err != nil {
		return nil, err
	}
	switch {
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("a document's URL has no query")
	case len(u.Path) < 2:
		return nil, errors.New("a document's URL has a path, such as /client.json")
	case u.String() != id || u.Host != strings.ToLower(u.Host) || u.Port() == "443" || strings.HasSuffix(u.Hostname(), "."):
		return nil, errors.New("the URL is not written in its plain form: lower case, no default port, nothing percent-encoded without need")
	case dotted(u.EscapedPath()):
		return nil, errors.New("a document's URL has no . or .. in its path")
	}
	return u, nil
}

// dotted reports a segment that a reader could take for . or .., plainly or
// percent-encoded.
func dotted(escaped string) bool {
	for _, s := range strings.Split(escaped, "/") {
		plain, err := url.PathUnescape(s)
		if err != nil || plain == "." || plain == ".." || strings.ContainsAny(plain, "/\\") {
			return true
		}
	}
	return false
}

// checkRedirect adds to oauthserver.CheckRedirect what depends on who asks: own
// is the host of the gateway's own pages, to which nobody is sent with a code.
// The error says what to write instead.
func checkRedirect(uri, own string) error {
	if err := oauthserver.CheckRedirect(uri); err != nil {
		return err
	}
	u, err := url.Parse(uri)
	if err != nil {
		return errors.New("the redirect URI cannot be parsed")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("the redirect URI's query cannot be read")
	}
	for _, ours := range []string{"code", "state", "iss", "error", "error_description", "response"} {
		if q.Has(ours) {
			return errors.New("the redirect URI's query holds " + ours + ", which is ours to write")
		}
	}
	switch {
	case u.Scheme == "http" && !oneOfLoopback(u.Hostname()):
		return errors.New("plain http redirects go to 127.0.0.1, [::1] or localhost")
	case !strings.HasPrefix(uri, u.Scheme+"://"+u.Host) || u.Host != strings.ToLower(u.Host):
		return errors.New("write the redirect URI's scheme and host in lower case")
	case dotted(u.EscapedPath()):
		return errors.New("the redirect URI has . or .. in its path")
	case own != "" && bareHost(u) == strings.ToLower(own):
		return errors.New("the redirect URI is on this gateway itself")
	}
	return nil
}

// bareHost is host and port without a default port.
func bareHost(u *url.URL) string {
	return strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
}

func oneOfLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}
