package face

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"

	"github.com/munjigi/munjigi/internal/authn"
)

// judgeAssertion verifies an identity assertion (ID-JAG) and sets what it is
// good for: the resource that it names and the scopes that it, the request, the
// resource and the client have in common.
func (f *Face) judgeAssertion(ctx context.Context, t *turn, v url.Values) *wrong {
	if f.o.Assert == nil {
		return &wrong{"unsupported_grant_type", "no provider's assertions are taken here"}
	}
	a, err := f.o.Assert(ctx, v.Get("assertion"))
	if errors.Is(err, authn.ErrUnavailable) {
		t.fault = err
		return &wrong{codeServer, "try again later"}
	}
	if err != nil || !a.Who.Valid() || a.Once == "" {
		t.cause = err
		return &wrong{"invalid_grant", "the assertion is not valid here: get a new one from the identity provider, for this server and this client"}
	}
	res, ours := f.o.Resources[a.Resource]
	if !ours || v.Get("resource") != "" && v.Get("resource") != a.Resource {
		return &wrong{"invalid_target", "the assertion is for another resource"}
	}
	asked := strings.Fields(v.Get("scope"))
	if len(asked) == 0 {
		asked = a.Scopes
	}
	var granted []string
	for _, s := range asked {
		if slices.Contains(a.Scopes, s) && slices.Contains(res.Scopes, s) && !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	if len(granted) == 0 {
		return &wrong{"invalid_scope", "the assertion grants no scope of this resource that was asked for"}
	}
	v.Set("resource", a.Resource)
	v.Set("scope", strings.Join(granted, " "))
	t.asserted = a
	return nil
}

// assertion is asked once the client has proved itself.
func (f *Face) assertion(ctx context.Context, _ string) (goidc.JWTBearerResult, error) {
	t := turnOf(ctx)
	if t.kind != turnAssertion || t.client == nil || !t.asserted.Who.Valid() {
		return goidc.JWTBearerResult{}, errTurn
	}
	if t.asserted.Client != t.client.ID {
		return goidc.JWTBearerResult{}, errors.New("the assertion is for another client")
	}
	if f.o.Ended(t.asserted.Who.Identity()) {
		return goidc.JWTBearerResult{}, errors.New("the person signed out")
	}
	first, err := f.o.Once(ctx, "id-jag:"+digest(t.asserted.Once), t.asserted.Until.Add(10*time.Minute))
	if err != nil {
		return goidc.JWTBearerResult{}, t.failed(err)
	}
	if !first {
		t.ended = "assertion-replayed"
		return goidc.JWTBearerResult{}, errors.New("the assertion was used before")
	}
	sub, err := f.subject(t.asserted.Who.Identity())
	return goidc.JWTBearerResult{Subject: sub}, t.failed(err)
}
