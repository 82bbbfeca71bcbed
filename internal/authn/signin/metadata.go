package signin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/oauth"
)

const metadataFresh = time.Hour

// metadata is what a sign-in needs to know of a provider.
type metadata struct {
	at           time.Time
	authorize    string
	token        string
	issInAnswer  bool // RFC 9207
	secretInBody bool // client_secret_post and not client_secret_basic
}

// discover reads the metadata of an issuer.
func discover(ctx context.Context, client *http.Client, issuer string) (*metadata, error) {
	m := &metadata{at: time.Now()}
	_, err := oauth.Find(ctx, client, issuer, func(d oauth.Document) error {
		var err1, err2 error
		m.authorize, err1 = d.URL("authorization_endpoint")
		m.token, err2 = d.URL("token_endpoint")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if raw, ok := d.Members.Get("authorization_response_iss_parameter_supported"); ok {
			m.issInAnswer = string(raw) == "true"
		}
		// Some providers do PKCE and do not say so; one that lists its methods
		// and leaves S256 out does not.
		if methods, listed := texts(d.Members, "code_challenge_methods_supported"); listed && !slices.Contains(methods, "S256") {
			return errors.New("the provider does not support PKCE with S256")
		}
		if methods, listed := texts(d.Members, "token_endpoint_auth_methods_supported"); listed {
			m.secretInBody = !slices.Contains(methods, "client_secret_basic") && slices.Contains(methods, "client_secret_post")
		}
		return nil
	})
	return m, err
}

// texts returns an array of strings; listed is false where there is none.
func texts(o strictjson.Object, name string) (out []string, listed bool) {
	raw, ok := o.Get(name)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeArray {
		return nil, false
	}
	items, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil, true
	}
	for _, item := range items {
		if strictjson.TypeOf(item) == strictjson.TypeString {
			if s, err := strictjson.String(item); err == nil {
				out = append(out, s)
			}
		}
	}
	return out, true
}
