package main

import (
	"context"
	"errors"
	"time"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential/idjag"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/oauth"
	"github.com/munjigi/munjigi/internal/upstream"
	"github.com/munjigi/munjigi/internal/upstream/streamable"
)

// enterprise plays enterprise-managed authorization. The suite's identity
// provider publishes no keys, so no gateway could take its ID token from a
// caller; here the caller stands straight before the side toward servers: the
// credential's source and the transport that a gateway uses.
func enterprise(ctx context.Context, s scene) error {
	issuer, at, err := authorizationServer(ctx, s.server)
	if err != nil {
		return err
	}
	idp := s.context["idp_issuer"]
	client, err := egress.Client(egress.Rules{Allow: []string{"localhost", at}})
	if err != nil {
		return err
	}
	provider, err := oauth.NewServer(client, idp, s.context["idp_token_endpoint"], oauth.Authentication{Method: oauth.MethodNone, ClientID: s.context["idp_client_id"]})
	if err != nil {
		return err
	}
	server, err := oauth.NewServer(client, issuer, "", oauth.Authentication{Method: oauth.MethodBasic, ClientID: s.context["client_id"],
		Secret: func(context.Context) (secret.Value, error) { return secret.New(s.context["client_secret"]), nil }})
	if err != nil {
		return err
	}
	src, err := idjag.New(idjag.Options{Provider: provider, Server: server, ClientID: s.context["client_id"], Subject: "urn:ietf:params:oauth:token-type:id_token",
		Resource: s.server.String(), Current: func(p call.Principal) bool { return p.Valid() }})
	if err != nil {
		return err
	}
	d, err := streamable.New(streamable.Config{URL: s.server.String(), Limits: streamable.DefaultLimits(), Credential: src})
	if err != nil {
		return err
	}
	defer d.Close()
	caller := call.Subject{Token: secret.New(s.context["idp_id_token"]), Principal: call.NewPrincipal(call.Identity{Issuer: idp, Subject: "person", Client: "suite",
		Kind: call.Person, Expires: time.Now().Add(time.Minute).Unix()})}
	t, err := d.Dial(ctx, upstream.DialOptions{Era: mcp.Legacy, Subject: func() call.Subject { return caller }, Unbound: func(mcp.Message) {}, Down: func(error) {}})
	if err != nil {
		return err
	}
	for _, m := range []upstream.Outgoing{
		{Method: mcp.MethodInitialize, Params: []byte(`{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"person","version":"1.0.0"}}`)},
		{Method: "notifications/initialized"},
		{Method: mcp.MethodToolsList, Version: mcp.V20251125},
		{Method: mcp.MethodToolsCall, Params: []byte(`{"name":"test-tool","arguments":{}}`), Version: mcp.V20251125},
	} {
		m.Subject = caller
		if m.Method == "notifications/initialized" {
			err = t.Send(ctx, m)
		} else {
			_, err = t.Exchange(ctx, m, func(mcp.Message) {})
		}
		if err != nil {
			return errors.Join(err, t.Close())
		}
	}
	return t.Close()
}
